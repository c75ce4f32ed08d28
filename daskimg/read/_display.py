"""Samples as pictures and counts, for people: imported when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import markup, store
from daskimg.decode import Panel, Strip, encode_jpeg
from daskimg.errors import OptionError
from daskimg.fetch import is_url
from daskimg.options import given, whole
from daskimg.sheets import Drawing, Sheet, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from daskimg.read._samples import Samples

_CELLS = ((4, 256), (12, 160), (1 << 30, 96))
"""Up to so many samples beside each other are so many pixels high or wide each."""

_THUMBNAILS, _SMALL, _QUALITY = 12, 96, 85  # of a page: how many, pixels, of JPEG
_EMPTY = 200  # grey of a picture that failed
_WORDS = 40  # letters of a caption
_PICTURE = 3  # axes: height, width, channel or joint
_LISTED = 3  # classes of a sample that are named


def sheet_of(samples: Samples, wanted: int | Sequence[int]) -> Sheet:
    """Return a sheet of some samples; see ``Samples.show``."""
    slots = _spread(samples, wanted) if isinstance(wanted, int) else _given(samples, wanted)
    cell = next(cell for count, cell in _CELLS if len(slots) <= count)
    panels = [panel for slot in slots for panel in _panels(samples, slot, cell)]
    return Sheet(repr(samples), (Strip("", (), tuple(panels)),))


def page_of(samples: Samples) -> str:
    """Return a page of a few pictures, the classes, what failed, and where all comes from."""
    slots = _nearby(samples) if is_url(samples.url) else _spread(samples, _THUMBNAILS)
    figures = []
    for slot in slots:
        panel = next(_panels(samples, slot, _SMALL))
        size = panel.image.shape[0], panel.image.shape[1]
        content = encode_jpeg(panel.image, _QUALITY)
        alt = f"sample {panel.caption}"
        figures.append(markup.figure(content, size, panel.caption, alt))
    counts = [part for name in samples.attributes["columns"] for part in _histogram(samples, name)]
    return markup.block(
        repr(samples), f"<div>{''.join(figures)}</div>", *counts, *_failures(samples),
        markup.facts(_facts(samples)),
    )  # fmt: skip


def _spread(samples: Samples, count: int) -> list[int]:
    """Return slots that are evenly spread over those that did not fail."""
    whole("samples", count, "try 24")
    good = np.flatnonzero(samples.status == store.OK)
    places = np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int)
    return [int(slot) for slot in good[places]]


def _nearby(samples: Samples) -> list[int]:
    """Return the first slots that did not fail: of a bucket these cost one request or two."""
    return [int(slot) for slot in np.flatnonzero(samples.status == store.OK)[:_THUMBNAILS]]


def _given(samples: Samples, wanted: object) -> list[int]:
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise OptionError(f"samples must be how many, or which, got {given(wanted)}; try 24")
    slots = list(wanted)
    for slot in slots:
        if isinstance(slot, bool) or not isinstance(slot, int | np.integer):
            raise OptionError(f"samples must be numbers of them, got {given(slot)}; try [0, 1]")
        if not -len(samples) <= slot < len(samples):
            raise OptionError(f"there are {len(samples):,} samples, and no sample {slot}")
    return [range(len(samples))[slot] for slot in slots]


def _panels(samples: Samples, slot: int, cell: int) -> Iterator[Panel]:
    if samples.status[slot] != store.OK:
        height, width = samples.image.shape[1:3]
        scale = cell / max(height, width)
        shape = max(1, round(height * scale)), max(1, round(width * scale)), 3
        yield Panel(np.full(shape, _EMPTY, np.uint8), f"{slot}: failed")
        return
    yield from drawn(_drawing(samples, slot), cell, _caption(samples, slot))


def _drawing(samples: Samples, slot: int) -> Drawing:
    """Return a sample with its masks, joints and heatmaps."""
    arrays = {name: np.asarray(samples.target(name)[slot]) for name in samples.targets}
    flat = {name: each for name, each in arrays.items() if each.ndim == _PICTURE}
    masks = [each for each in flat.values() if each.dtype == np.uint8]
    heat = [(name, each) for name, each in flat.items() if each.dtype.kind == "f"]
    points = [
        (each, _visible(arrays, len(each))) for each in arrays.values() if each.shape[1:] == (2,)
    ]
    return Drawing(np.asarray(samples.image[slot]), tuple(masks), tuple(points), tuple(heat))


def _visible(arrays: dict[str, NDArray[Any]], joints: int) -> NDArray[np.bool_]:
    for each in arrays.values():
        if each.shape == (joints,):
            return np.asarray(each > 0)
    return np.ones(joints, bool)


def _caption(samples: Samples, slot: int) -> str:
    word = _word(samples, samples.labels[slot])
    text = f"{slot}: {word}" if word else str(slot)
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."


def _word(samples: Samples, label: Any) -> str:
    """Return a sample's label as people say it; nothing where it has none."""
    names = samples.classes
    if np.ndim(label):
        there = [names[i] for i in np.flatnonzero(label)]
        return ", ".join(there[:_LISTED]) + (", ..." if len(there) > _LISTED else "")
    if names:
        return names[label] if label >= 0 else ""
    return "" if label != label or label == -1 else f"{label:g}"


def _histogram(samples: Samples, name: str) -> Iterator[str]:
    """Yield how many good samples each class has, or how far numbers go."""
    column, _ = samples.attributes["columns"][name]
    names = samples.attributes["classes"].get(column)
    values = samples.array(name)[samples.status == store.OK]
    if names and values.ndim == 1:
        codes = values[values >= 0]
        counts = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
    elif names:
        counts = dict(zip(names, (values != 0).sum(axis=0).tolist(), strict=True))
    else:
        there = values[~np.isnan(values)] if values.dtype.kind == "f" else values[values != -1]
        span = f"{there.min():g} to {there.max():g}" if len(there) else "nothing"
        yield markup.paragraph(f"{name}: {values.dtype}, {span}")
        return
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    yield markup.bars(ordered, f"samples by {column}", "more classes")


def _failures(samples: Samples) -> Iterator[str]:
    if not (samples.status == store.FAILED).any():
        return
    counts = samples.failures["reason"].value_counts()
    reasons = {str(reason): int(count) for reason, count in counts.items()}
    yield markup.bars(reasons, "failed samples by reason", "more reasons")


def _facts(samples: Samples) -> Iterator[tuple[str, str]]:
    recipe = samples.attributes.get("recipe", {})
    steps = [step["name"] for step in recipe.get("transform", ())]
    yield "recipe", " > ".join(["decode", *steps])
    for name in samples.targets:
        array = samples.target(name)
        yield name, f"{' x '.join(map(str, array.shape[1:]))} {array.dtype}"
    if samples.mean is not None and samples.std is not None:
        for name, numbers in (("mean", samples.mean), ("std", samples.std)):
            yield name, " ".join(f"{number:.4f}" for number in numbers) + " of 0..1"
