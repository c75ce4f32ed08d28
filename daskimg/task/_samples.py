"""From a row's file to its samples, checked to be what was planned."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskimg.errors import SampleError, TransformError
from daskimg.store import content_hash
from daskimg.targets import finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.decode import Picture, Source
    from daskimg.plan import ArraySpec, Brief, Group
    from daskimg.recipe import Row
    from daskimg.task._contents import Content
    from daskimg.task._rows import Planned
    from daskimg.transforms import Sample

_LARGE = 1 << 24  # pixels from which a picture is rather kept than decoded once more
_HELD = 4  # bytes a pixel that a decoded picture takes


class _Kept:
    """The last large picture that reaches into several shards: decoded once a process.

    Its shards are neighbours, and are worked on at about the same time. Threads that want the
    same picture wait for it; those that want another do not come here often. It goes when all
    its parts were asked for, or another comes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._found: tuple[Picture, Source] | None = None
        self._left = 0

    def get(
        self,
        key: object,
        decoded: Callable[[], tuple[Picture, Source]],
        parts: int,
        total: int,
    ) -> tuple[Picture, Source]:
        """Return the picture, of which ``parts`` of ``total`` samples will be made."""
        with self._lock:
            found = self._found if key == self._key else None
            if found is None:
                self._key = self._found = None  # before the next one takes its own memory
                found = decoded()
                self._key, self._found, self._left = key, found, total
            self._left -= parts
            if self._left <= 0:
                self._key = self._found = None
            return found


_KEPT = _Kept()


def make_samples(
    brief: Brief, group: Group, each: Planned, content: Content, parts: range
) -> tuple[list[Sample], Source]:
    """Return some of a row's samples, checked to be what the recipe's ``resolve`` promised."""
    recipe, row = group.recipe, each.row
    if content.files:
        row = replace(row, files=content.files)
    image, source = _decoded(brief, group, each, content, parts)
    if brief.measured:
        _check_size(each, source)
    samples = recipe.samples(image, source, row, parts)
    if len(samples) != len(parts):
        raise _broken_promise(row, f"{len(samples)} samples, and promised {len(parts)}")
    for sample in samples:
        for spec in group.arrays:
            found = _made_of(sample, spec)
            if found != (spec.shape, spec.dtype):
                raise _broken_promise(
                    row, f"{spec.name} of {found}, and promised {(spec.shape, spec.dtype)}"
                )
    return samples, source


def _decoded(
    brief: Brief, group: Group, each: Planned, content: Content, parts: range
) -> tuple[Picture, Source]:
    def decoded() -> tuple[Picture, Source]:
        return group.recipe.decoded(content.picture, each.row)

    pixels = each.height * each.width
    if len(parts) == each.samples or not _LARGE <= pixels <= brief.spare // _HELD:
        return decoded()
    key = content_hash(content.picture), group.recipe
    return _KEPT.get(key, decoded, len(parts), each.samples)


def _check_size(each: Planned, source: Source) -> None:
    """Refuse a picture that is not as large as its header, or the table, said."""
    if not each.height:
        raise SampleError("size", "its header could not be read when the store was planned")
    if (each.height, each.width) != (source.height, source.width):
        raise SampleError(
            "size",
            f"{source.width} x {source.height} pixels, and {each.width} x {each.height} declared",
        )


def write_entry_of(sample: Sample, spec: ArraySpec, slot: NDArray[Any]) -> None:
    """Copy what a sample has for a sharded array into its slot there."""
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
