"""What the moving transforms share: a sample's targets follow its picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError
from daskimg.transforms._affine import IDENTITY, apply_affine, compose
from daskimg.transforms._placed import at_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.decode import Picture
    from daskimg.transforms._protocol import Sample, Spec, Target, TargetKind

    MaskCut = Callable[[NDArray[Any], int], NDArray[Any]]

FOLLOWING: frozenset[TargetKind] = frozenset({"mask", "points", "joints"})
"""Kinds of target that follow a geometry."""

ALL_KINDS: frozenset[TargetKind] = frozenset({"mask", "points", "joints", "heatmap", "values"})
"""Kinds of target that stay right where nothing moves."""


def sized(spec: Spec, height: int | None, width: int | None) -> Spec:
    """Return a spec at another size, its masks with it; of no size where that is unknown."""
    if height is None or width is None:
        return replace(at_size(spec, 0, 0), height=None, width=None)
    return at_size(spec, height, width)


def moved(sample: Sample, image: Picture, step: NDArray[np.float64], cut: MaskCut) -> Sample:
    """Return the sample with another image, to which ``step`` maps the points of the present one.

    Parameters
    ----------
    step
        (2, 3) affine.
    cut
        Does to a mask, (height, width, channel), what was done to the image; its second
        argument is what the mask holds where it is padded.
    """
    targets = {
        name: target._replace(array=_followed(target, step, cut))
        for name, target in sample.targets.items()
    }
    # The first step of most recipes, for each tile: no product.
    affine = step if sample.affine is IDENTITY else compose(step, sample.affine)
    return replace(sample, image=image, affine=affine, targets=targets)


def _followed(target: Target, step: NDArray[np.float64], cut: MaskCut) -> NDArray[Any]:
    if target.kind == "mask":
        return cut(target.array, target.fill)
    return apply_affine(step, target.array) if target.kind == "points" else target.array


def translation(across: float, down: float) -> NDArray[np.float64]:
    """Return the (2, 3) affine that adds (``across``, ``down``) to a point (x, y)."""
    return np.array([[1.0, 0.0, across], [0.0, 1.0, down]])


def need_bytes(name: str, spec: Spec, why: str) -> None:
    """Refuse a step on anything but 8-bit pictures, before anything is read."""
    if spec.dtype != "uint8":
        raise OptionError(
            f"{name} needs uint8 pictures, got {spec.dtype}: {why}; leave out --dtype, and "
            "normalise when reading (daskimg.normalize)"
        )
