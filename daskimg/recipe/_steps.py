"""Steps and targets by name: the short ones, and addresses of the user's own."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskimg.errors import OptionError
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import (
    Autocontrast,
    CenterCrop,
    Choose,
    Concatenate,
    Equalize,
    Fit,
    Flip,
    Grayscale,
    Heatmaps,
    MinSize,
    Mirror,
    Modes,
    NoiseFit,
    NoiseFrames,
    PersonCrop,
    PhotometricJitter,
    RandomCrop,
    RandomMirror,
    Resize,
    Rotate,
    SquareCrop,
    Tiles,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAMED: dict[str, type[Any]] = {
    "resize": Resize,
    "center-crop": CenterCrop,
    "fit": Fit,
    "tiles": Tiles,
    "noise-frames": NoiseFrames,
    "noise-fit": NoiseFit,
    "min-size": MinSize,
    "modes": Modes,
    "grayscale": Grayscale,
    "autocontrast": Autocontrast,
    "equalize": Equalize,
    "square-crop": SquareCrop,
    "mirror": Mirror,
    "flip": Flip,
    "rotate": Rotate,
    "random-crop": RandomCrop,
    "random-mirror": RandomMirror,
    "photometric-jitter": PhotometricJitter,
    "concatenate": Concatenate,
    "choose": Choose,
    "person-crop": PersonCrop,
    "heatmaps": Heatmaps,
}
"""The transforms that TOML and the command line know by a short name."""

TARGETS: dict[str, type[Any]] = {"keypoints": Keypoints, "mask": MaskFile}
"""The targets that TOML knows by a short name."""


def step_class(name: str, kind: str = "transform") -> type[Any]:
    """Return a transform or target by its short name or by ``module:Class``, or refuse."""
    named = TARGETS if kind == "target" else NAMED
    if name in named:
        return named[name]
    if ":" in name:
        found = imported(name)
        if isinstance(found, type):
            return found
    raise OptionError(
        f"no {kind} is called {name!r}; there are {', '.join(named)}, or module:Class"
    )


def short_name(step: Any) -> str:
    """Return what TOML calls a transform, a target or a decoder."""
    short = {kind: name for name, kind in (NAMED | TARGETS).items()}
    return short.get(type(step)) or address(step)


def address(thing: Any) -> str:
    """Return where a class, a function or an object's class can be imported from."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def imported(place: str) -> Any:
    """Return what is at an address, or refuse it."""
    module, _, name = place.partition(":")
    try:
        found = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"cannot import {place!r}: {error}; write module:name") from None
    return found


def source_hash(thing: Any) -> str:
    """Hash a callable's source, so that a store notices when its code has changed."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    try:
        return hashlib.sha256(inspect.getsource(named).encode()).hexdigest()
    except (OSError, TypeError):  # built into C, or typed at a prompt
        return "no source"


def flattened(steps: Iterable[Any]) -> Iterator[Any]:
    """Yield steps, and those within them."""
    for step in steps:
        if isinstance(step, tuple):
            yield from flattened(step)
        elif is_dataclass(step):
            yield step
            yield from flattened(getattr(step, f.name) for f in fields(step))
