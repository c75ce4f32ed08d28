"""What is done to a picture: an ordered tuple of transforms, as pure data.

A recipe is hashable, goes to and from TOML, and is checked end to end before a byte is read.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from daskimg.decode import Picture, Source, decode, decoder_versions
from daskimg.errors import OptionError, PlanError, TransformError
from daskimg.options import DecodeOptions
from daskimg.transforms import (
    Autocontrast,
    CenterCrop,
    Concatenate,
    Equalize,
    Fit,
    Flip,
    Grayscale,
    MinSize,
    Mirror,
    Modes,
    NoiseFit,
    NoiseFrames,
    PhotometricJitter,
    RandomCrop,
    RandomMirror,
    Resize,
    Rotate,
    Sample,
    Spec,
    SquareCrop,
    Tiles,
    Transform,
    resolve_chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Decoder = Callable[[bytes], NDArray[Any]]

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
}
"""The transforms that TOML and the command line know by a short name."""


@dataclass(frozen=True, slots=True)
class Row:
    """Who a picture is: its row in the manifest, and its path for messages."""

    number: int
    path: str


@dataclass(frozen=True)
class Recipe:
    """A picture's way from bytes to samples.

    Attributes
    ----------
    transforms
        The steps, in order; see ``daskimg.transforms``.
    decode
        What the decoder is to give.
    decoder
        A function bytes -> (height, width, channel) array of the user's own, in place of
        Pillow. It lives in a module, so that workers and ``verify`` can import it.
    seed
        Key of all randomness.
    """

    transforms: tuple[Transform, ...]
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    decoder: Decoder | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Freeze a list of transforms, and refuse what is none."""
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for step in self.transforms:
            if isinstance(step, type) or not isinstance(step, Transform):
                raise OptionError(
                    f"{step!r} is not a transform: it needs resolve(spec) and __call__(sample)"
                )
        seed: object = self.seed  # TOML may hold anything
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise OptionError(f"seed must be a whole number of 0 to 2**64 - 1, got {self.seed!r}")

    def outputs(self) -> tuple[Spec, ...]:
        """Return the spec of each sample that a row becomes.

        Raises
        ------
        PlanError
            If samples would differ in shape, or their size would depend on the picture's.
        """
        start = Spec(None, None, self.decode.channels, self.decode.dtype)
        specs = resolve_chain(self.transforms, start)
        for spec in specs:
            if spec.height is None or spec.width is None:
                raise PlanError(
                    "samples would not be of one size; end the recipe with resize, center-crop "
                    "or fit"
                )
            if spec != specs[0]:
                raise PlanError(f"samples of one row would differ: {specs[0]} and {spec}")
        if not specs:
            raise PlanError("the recipe makes no sample of any row")
        return tuple(specs)

    def apply(self, content: bytes, row: Row) -> tuple[list[Sample], Source]:
        """Return the finished samples of one picture, and what its file held.

        Raises
        ------
        SampleError
            If the file is at fault.
        TransformError
            If a transform or the custom decoder raised: the row is named, and the run stops.
        """
        image, source = self._decoded(content, row)
        samples = [Sample(image, seed=self.seed, row=row.number)]
        for step in self.transforms:
            samples = [made for sample in samples for made in _stepped(step, sample, row)]
            for part, sample in enumerate(samples):
                sample.part = part
        return samples, source

    def _decoded(self, content: bytes, row: Row) -> tuple[Picture, Source]:
        if self.decoder is None:
            least = getattr(self.transforms[0], "least", None) if self.transforms else None
            return decode(content, self.decode, least)
        try:
            array = np.asarray(self.decoder(content))
            picture = Picture.from_array(array)
        except Exception as error:
            raise _bug(self.decoder, row, error) from error
        if (picture.channels, picture.dtype) != (self.decode.channels, self.decode.dtype):
            wanted = f"{self.decode.channels} channels of {self.decode.dtype}"
            given = ValueError(f"gave {array.shape} of {array.dtype}, not {wanted}")
            raise _bug(self.decoder, row, given)
        return picture, Source(picture.width, picture.height, "custom", reduced=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, as it stands in TOML and in the store."""
        found: dict[str, Any] = {"seed": self.seed, "decode": _plain(self.decode)}
        if self.decoder is not None:
            found["decoder"] = _address(self.decoder)
        found["transform"] = [{"name": _name(step), **_plain(step)} for step in self.transforms]
        return found

    def to_toml(self) -> str:
        """Return the recipe as TOML, as ``--recipe FILE.toml`` takes it."""
        return tomli_w.dumps(self.to_dict())

    def sources(self) -> dict[str, str]:
        """Return a hash of the source of each callable that is the user's own, by address."""
        own: list[Any] = [type(s) for s in self.transforms if type(s) not in NAMED.values()]
        if self.decoder is not None:
            own.append(self.decoder)
        return {_address(thing): _source_hash(thing) for thing in own}

    def versions(self) -> dict[str, str]:
        """Return the versions of what decodes: other versions may give other bits."""
        if self.decoder is None:
            return decoder_versions()
        return {"decoder": _address(self.decoder)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Recipe:
        """Return the recipe that ``to_dict`` wrote, or that a TOML file holds.

        Raises
        ------
        OptionError
            Naming the key that is unknown or out of range.
        """
        _refuse_unknown("recipe", given, ("seed", "decode", "decoder", "transform"))
        steps, decode = given.get("transform", []), given.get("decode", {})
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise OptionError("transform must be a list of tables; write [[transform]]")
        if not isinstance(decode, dict):
            raise OptionError(f"decode must be a table, got {decode!r}; write [decode]")
        return cls(
            tuple(_transform_from(step) for step in steps),
            _made(DecodeOptions, "decode", decode),
            _imported(str(given["decoder"])) if "decoder" in given else None,
            given.get("seed", 0),
        )

    def changed(self, **decode: Any) -> Recipe:
        """Return the recipe with other decode options."""
        return replace(self, decode=replace(self.decode, **decode)) if decode else self


def transform_class(name: str) -> type[Any]:
    """Return a transform by its short name or by ``module:Class``, or refuse with advice."""
    if name in NAMED:
        return NAMED[name]
    if ":" in name:
        found = _imported(name)
        if isinstance(found, type):
            return found
    raise OptionError(
        f"no transform is called {name!r}; there are {', '.join(NAMED)}, or module:Class"
    )


def _transform_from(step: Mapping[str, Any]) -> Transform:
    values = dict(step)
    if "name" not in values:
        raise OptionError(f"a transform needs a name, got {values}; try name = 'resize'")
    name = str(values.pop("name"))
    made: Transform = _made(transform_class(name), name, values)
    return made


def _stepped(step: Transform, sample: Sample, row: Row) -> list[Sample]:
    try:
        return list(step(sample))
    except Exception as error:
        raise _bug(step, row, error) from error


def _bug(step: Any, row: Row, error: Exception) -> TransformError:
    called = getattr(step, "__name__", type(step).__name__)
    return TransformError(called, row.number, row.path, f"{type(error).__name__}: {error}")


def _plain(options: Any) -> dict[str, Any]:
    """Return a dataclass's fields as TOML can hold them: no ``None``, lists for tuples."""
    if not is_dataclass(options):
        raise OptionError(f"{type(options).__name__} must be a frozen dataclass")
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def _made(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    _refuse_unknown(name, values, tuple(f.name for f in fields(kind)))
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        missing = [f.name for f in fields(kind) if f.name not in frozen]
        hint = f"; it also takes {', '.join(missing)}" if missing else f": {error}"
        raise OptionError(f"{name} cannot be made of {frozen}{hint}") from error


def _refuse_unknown(what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise OptionError(f"{what} has no field {name!r}; it has {', '.join(known)}")


def _name(step: Transform) -> str:
    short = {kind: name for name, kind in NAMED.items()}
    return short.get(type(step)) or _address(type(step))


def _address(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def _imported(address: str) -> Any:
    module, _, name = address.partition(":")
    try:
        found = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"cannot import {address!r}: {error}; write module:name") from None
    return found


def _source_hash(thing: Any) -> str:
    """Hash a callable's source, so that a store notices when its code has changed."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    try:
        return hashlib.sha256(inspect.getsource(named).encode()).hexdigest()
    except (OSError, TypeError):  # built into C, or typed at a prompt
        return "no source"
