"""From a row's file to its samples, checked to be what was planned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskimg.errors import SampleError, TransformError
from daskimg.targets import finished
from daskimg.task._kept import Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.decode import Source
    from daskimg.plan import ArraySpec, Brief, Group
    from daskimg.recipe import Recipe, Row
    from daskimg.task._contents import Content
    from daskimg.task._rows import Planned
    from daskimg.transforms import Sample

_LARGE = 1 << 24  # pixels from which a picture is rather kept than decoded once more
_HELD = 4  # bytes a pixel that a decoded picture takes


_PICTURES: Kept[tuple[Sample, Source]] = Kept()
"""Decoded pictures that reach into several shards."""


def make_samples(
    brief: Brief,
    group: Group,
    each: Planned,
    content: Content,
    parts: range,
    lap: Callable[[str], None] | None = None,
) -> tuple[list[Sample | SampleError], Source]:
    """Return some of a row's samples, checked to be what the recipe's ``resolve`` promised.

    Where one sample alone is at fault, its fault is in its place. ``lap`` is told when the
    picture is decoded.

    Raises
    ------
    SampleError
        If they all are.
    """
    recipe, row = group.recipe, each.row
    if content.files:
        row = replace(row, files=content.files)
    start, source = _started(brief, group, each, row, content, parts)
    if lap is not None:
        lap("decode")
    samples = recipe.samples(start, row, parts)
    if len(samples) != len(parts):
        raise _broken_promise(row, f"{len(samples)} samples, and promised {len(parts)}")
    for sample in samples:
        if not isinstance(sample, SampleError):
            _check_promise(group, sample, row)
    return samples, source


def _check_promise(group: Group, sample: Sample, row: Row) -> None:
    for spec in group.arrays:
        found = _made_of(sample, spec)
        if found != (spec.shape, spec.dtype):
            raise _broken_promise(
                row, f"{spec.name} of {found}, and promised {(spec.shape, spec.dtype)}"
            )


def _started(
    brief: Brief, group: Group, each: Planned, row: Row, content: Content, parts: range
) -> tuple[Sample, Source]:
    """Return the decoded picture with its targets; a large one is kept for other shards."""

    def started() -> tuple[Sample, Source]:
        picture, source = group.recipe.decoded(content.picture, row)
        if brief.measured:
            _check_size(group.recipe, each, source)
        return group.recipe.started(picture, source, row), source

    pixels = each.height * each.width
    # Over the limit it is read by windows, and those are one thread's.
    most = min(brief.spare // _HELD, group.recipe.decode.max_pixels)
    if len(parts) == each.samples or not _LARGE <= pixels <= most:
        return started()

    def shared() -> tuple[Sample, Source]:
        start, source = started()
        start.image.unpacked()
        return start, source

    key = brief.call, each.row.number, content.digest, group.recipe
    return _PICTURES.get(key, shared, len(parts), each.samples)


def _check_size(recipe: Recipe, each: Planned, source: Source) -> None:
    """Refuse a picture that is not as large as its header, or the table, said.

    A table declares what is stored, so that of a picture on its side height and width are
    exchanged. It passes if as many samples come of it upright.
    """
    if not each.height:
        raise SampleError("size", "its header could not be read when the store was planned")
    declared, upright = (each.height, each.width), (source.height, source.width)
    if declared == upright:
        return
    found = f"{source.width} x {source.height} pixels"
    if not source.swapped or declared != upright[::-1]:
        raise SampleError("size", f"{found}, and {each.width} x {each.height} declared")
    counts = [recipe.count(*size, source.mode) for size in (upright, declared)]
    if counts[0] != counts[1]:
        raise SampleError(
            "size",
            f"{found} once upright, which give {counts[0]} samples; stored on its side, as "
            f"declared, it gives {counts[1]}: declare upright sizes",
        )


def write_entry_of(sample: Sample, spec: ArraySpec, slot: NDArray[Any]) -> None:
    """Copy what a sample has for an array into its slot there."""
    if spec.name == "image":
        sample.image.write(slot)
    else:
        slot[...] = entry_of(sample, spec.name)


def entry_of(sample: Sample, name: str) -> NDArray[Any]:
    """Return what a sample has for an array other than its image."""
    return sample.affine if name == "affine" else finished(sample.targets[name])


def _made_of(sample: Sample, spec: ArraySpec) -> tuple[tuple[int, ...], str] | None:
    """Return the shape and dtype of what a sample has for an array."""
    if spec.name == "image":
        image = sample.image
        return (image.height, image.width, image.channels), image.dtype
    if spec.name == "affine":
        return sample.affine.shape, spec.dtype  # computed in float64, stored in float32
    target = sample.targets.get(spec.name)
    return None if target is None else (target.array.shape, target.array.dtype.name)


def _broken_promise(row: Row, made: str) -> TransformError:
    return TransformError("the recipe", row.number, row.path, f"it made {made}")
