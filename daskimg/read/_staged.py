"""The steps that samples go through: read, changed, handed to a function, normalised."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from daskimg import store
from daskimg.augment import Moment, Who
from daskimg.errors import OptionError
from daskimg.read._batch import Batch
from daskimg.read._changes import Changes
from daskimg.read._pool import Pool
from daskimg.read._transformed import Field, Transformed
from daskimg.read._writers import Copied, Norm, Normalised, Turned

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.read._options import Form, ReadOptions
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays, Looked, Source
    from daskimg.read._writers import Writer
    from daskimg.statistics import Floating

    Lines = NDArray[np.int64]
    Work = Callable[[Lines], None]
    """Fills some lines of a batch; of others, another thread may be filling at the same time."""
    Named = dict[str, NDArray[Any]]

_IMAGE, _LABEL, _HEATMAP = "image", "label", "heatmap"


class Share(NamedTuple):
    """A reader's part of a batch.

    Attributes
    ----------
    slots : (sample,) int64
        Which samples; -1 is padding.
    first
        Place in the epoch of the first of them.
    behind
        Place in the epoch where this reader goes on.
    """

    slots: NDArray[np.int64]
    first: int
    behind: int

    @property
    def lines(self) -> Lines:
        """The lines to be filled, so that their slots rise."""
        return np.argsort(self.slots, kind="stable")[np.count_nonzero(self.slots < 0) :]


class Steps(Protocol):
    """What is done for each batch.

    Attributes
    ----------
    fields
        What the arrays of a batch are that are given to ``begin``; what is small is made anew.
    pooled
        The arrays that are read through a pool.
    pool
        What is held of decoded chunks.
    """

    fields: dict[str, Field]
    pooled: tuple[Looked, ...]
    pool: Pool

    def foresee(self, samples: int, lines: int) -> None:
        """Take note that so many samples are to be read, in batches of so many lines."""

    def begin(self, share: Share, moment: Moment, arrays: Named) -> tuple[Batch, Work]:
        """Return a batch over some arrays, whose padding is zero, and what fills it."""


def steps_of(samples: Samples, arrays: AnyArrays, options: ReadOptions) -> Steps:
    """Return what is done for each batch of a store.

    Raises
    ------
    OptionError
        If the options do not fit the store.
    """
    given = Given(samples, arrays, options)
    return given if options.transform is None else Applied(given, samples, options)


class Given:
    """Samples as they are stored, or augmented; as numbers or normalised.

    Parameters
    ----------
    samples, arrays
        The store.
    options
        How it is read.
    """

    def __init__(self, samples: Samples, arrays: AnyArrays, options: ReadOptions) -> None:
        self._samples, self._options = samples, options
        augment = options.augment
        self._drawn = augment is not None and augment.heatmap is not None
        targets = dict.fromkeys(options.targets)
        names = [n for n in targets if n != _IMAGE and not (self._drawn and n == _HEATMAP)]
        samples.require(names)
        self._changes = None if augment is None else Changes(samples, augment, names)
        self._writers = self._open(arrays, names)
        self._small = {name: samples.array(name) for name in names if name not in self._writers}
        self._labels, self._status = samples.labels, samples.status
        self._classes = _classes(samples, options)
        self._targets = [
            *targets,
            *([_HEATMAP] if self._drawn and _HEATMAP not in targets else []),
        ]
        self.fields = self._formed()

    def _open(self, arrays: AnyArrays, names: list[str]) -> dict[str, Writer]:
        """Return what writes the arrays that are sharded and do not move as points do."""
        kinds = {} if self._changes is None else self._changes.kinds
        self.pool = Pool(0)
        self.pooled: tuple[Looked, ...] = ()
        writers = {}
        for name in (_IMAGE, *names):
            each = self._samples.sharded(name)
            if each is not None and kinds.get(name) not in ("points", "joints"):
                source = arrays.source(each, self.pool, self._options)
                writers[name] = _writer(self._samples, name, source, self._options)
                self.pooled = (*self.pooled, *source.pooled)
        return writers

    def _formed(self) -> dict[str, Field]:
        fields = {name: Field(each.shape, each.dtype) for name, each in self._writers.items()}
        if self._changes is None:
            return fields
        height, width = self._changes.size
        for name, (shape, dtype) in fields.items():
            if name == _IMAGE and _is_planar(self._options):
                fields[name] = Field((shape[0], height, width), dtype)
            elif self._changes.moves_pixels(name):
                fields[name] = Field((height, width, shape[2]), dtype)
        if self._changes.drawn is not None:
            fields[_HEATMAP] = Field(self._changes.drawn, np.dtype(np.float32))
        return fields

    def foresee(self, samples: int, lines: int) -> None:
        """Take note that so many samples are to be read, in batches of so many lines."""
        for writer in self._writers.values():
            if isinstance(writer, Copied):
                writer.foresee(samples, lines)

    def begin(self, share: Share, moment: Moment, arrays: Named) -> tuple[Batch, Work]:
        """Return a batch over some arrays, and what fills it."""
        given = share.slots >= 0
        places = self._samples.places(share.slots)
        small = {name: _picked(each, places, given) for name, each in self._small.items()}
        writers, draw = self._writers, None
        if self._changes is not None:
            moves = self._changes.moves(places, self.whose(places, share), moment)
            writers = {
                name: each.changed(moves, mixed=name == _IMAGE)
                if self._changes.moves_pixels(name)
                else each
                for name, each in writers.items()
            }
            small = self._changes.moved(small, moves)
            draw = self._changes.drawing(places, moves)

        def work(lines: Lines) -> None:
            for name, writer in writers.items():
                writer.write(share.slots[lines], lines, arrays[name])
            if draw is not None:
                arrays[_HEATMAP][lines] = draw(lines)

        label = _picked(self._labels, places, given)
        batch = Batch(
            image=arrays[_IMAGE],
            label=label if self._classes is None else _one_hot(label, self._classes),
            sample=places,
            valid=given & (self._status[places] == store.OK),
            targets={name: (arrays | small)[name] for name in self._targets},
        )
        return batch, work

    def whose(self, places: NDArray[np.int64], share: Share) -> Who:
        """Return whose random numbers the samples of a share have."""
        row, part, number = (each[places] for each in self._identities)
        drawn = share.first + 1 + np.arange(len(places))
        return Who(row, part, number, drawn if self._options.drawn else np.zeros_like(drawn))

    @cached_property
    def _identities(self) -> tuple[NDArray[Any], ...]:
        samples = self._samples
        return samples.array("row"), samples.array("part").astype(np.int64), samples.numbers


class Applied:
    """What a function of the user's makes of samples that are given.

    Parameters
    ----------
    given
        How they are read.
    samples, options
        The store, and how it is read.
    """

    def __init__(self, given: Given, samples: Samples, options: ReadOptions) -> None:
        assert options.transform is not None
        self._given, self._one_hot = given, options.one_hot
        self.pooled, self.pool = given.pooled, given.pool
        norm = _norm(samples, options) if options.normalised else None
        self._function = Transformed(
            options.transform, samples.url, norm, planar=options.layout == "chw"
        )
        good = np.flatnonzero(samples.status == store.OK)[:1]
        self.fields = self._learnt(samples.slots[good], Moment(options.seed, options.epoch))

    def _learnt(self, slots: NDArray[np.int64], moment: Moment) -> dict[str, Field]:
        """Return what the function makes, found by one sample that is good."""
        if not len(slots):
            return self._given.fields
        share = Share(slots, 0, 1)
        batch, work = self._given.begin(share, moment, self._stage(1))
        work(share.lines)
        example = {name: each[0] for name, each in _named(batch).items()}
        return self._function.learn(example, self._given.whose(batch.sample, share), moment)

    def foresee(self, samples: int, lines: int) -> None:
        """Take note that so many samples are to be read, in batches of so many lines."""
        self._given.foresee(samples, lines)

    def begin(self, share: Share, moment: Moment, arrays: Named) -> tuple[Batch, Work]:
        """Return a batch over some arrays, and what fills it."""
        read, given = self._given.begin(share, moment, self._stage(len(share.slots)))
        stage, who = _named(read), self._given.whose(read.sample, share)
        padding = share.slots < 0
        arrays[_LABEL][padding] = 0 if self._one_hot else _none(arrays[_LABEL].dtype)

        def work(lines: Lines) -> None:
            given(lines)
            self._function.fill(lines, stage, who, moment, arrays)

        targets = {n: each for n, each in arrays.items() if n not in (_IMAGE, _LABEL)}
        return read._replace(image=arrays[_IMAGE], label=arrays[_LABEL], targets=targets), work

    def _stage(self, count: int) -> Named:
        return {
            name: np.zeros((count, *form.shape), form.dtype)
            for name, form in self._given.fields.items()
        }


def _named(batch: Batch) -> Named:
    return {_IMAGE: batch.image, _LABEL: batch.label, **batch.targets}


def _is_planar(options: ReadOptions) -> bool:
    """Whether images are written channels first, and not handed to a function before."""
    return options.layout == "chw" and options.transform is None


def _classes(samples: Samples, options: ReadOptions) -> int | None:
    """Return how many classes labels are handed over for, one hot, if they are."""
    if not options.one_hot:
        return None
    labels = samples.labels
    if labels.ndim == 2:
        return int(labels.shape[1])
    if labels.dtype.kind != "i":
        raise OptionError(
            f"one_hot needs classes, and labels are {labels.dtype}; leave one_hot out"
        )
    return len(samples.classes) or int(labels.max(initial=-1)) + 1


def _one_hot(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """Return (sample, class) float32; labels below 0 are none."""
    if labels.ndim == 2:
        return labels.astype(np.float32)
    found = np.zeros((len(labels), classes), np.float32)
    lines = np.flatnonzero(labels >= 0)
    found[lines, labels[lines]] = 1
    return found


def _writer(samples: Samples, name: str, source: Source, options: ReadOptions) -> Writer:
    """Return what writes an array: targets as they are stored, images in their form."""
    stored = source.sharded.dtype
    if name != _IMAGE:
        return Copied(source)
    if options.dtype == "uint8" and stored != np.uint8:
        raise OptionError(
            f"dtype is {options.dtype}, and the store's images are {stored}; try dtype=None, as "
            "stored, or float32"
        )
    if options.transform is not None:
        return Copied(source)
    if options.normalised:
        return Normalised(source, _norm(samples, options))
    return Turned(source) if options.layout == "chw" else Copied(source)


def _norm(samples: Samples, form: Form) -> Norm:
    """Return by what images are normalised: by the store's own statistics, if nothing is said."""
    mean, std = form.mean, form.std
    if form.mode == "mean-std" and mean is None and std is None:
        if samples.split is not None:
            raise OptionError(
                "a store with splits has several means; give those of the training split: "
                "mean=train.mean, std=train.std"
            )
        mean, std = samples.mean, samples.std
    centre, spread = (None if each is None else tuple(map(float, each)) for each in (mean, std))
    floating = cast("Floating", form.dtype)
    return Norm(form.mode, centre, spread, floating, form.layout)


def _picked(
    values: NDArray[Any], places: NDArray[np.int64], given: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the entries of some samples; of padding, what means none."""
    found = values[places]
    if not given.all():
        found[~given] = (
            0 if values.ndim > 1 and values.dtype == np.float32 else _none(values.dtype)
        )
    return found


def _none(dtype: np.dtype[Any]) -> float:
    return {"f": np.nan, "i": -1}.get(dtype.kind, 0)
