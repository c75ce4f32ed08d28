"""What is read, in which order, in which form, and with what effort."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from daskimg.augment import Augment
from daskimg.errors import OptionError
from daskimg.options import one_of, whole
from daskimg.statistics import Layout, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from daskimg.read._transformed import Transform

Shuffle = Literal["full", "chunks", "shards"]
Failed = Literal["drop", "keep", "raise"]
Output = Literal["uint8", "float32", "float16"]
Check = Literal["first", "never"]

_MIB = 1 << 20
_SEEDS = 1 << 64
_MAX_THREADS = 8
_MAX_PREFETCH = 1 << 10


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderOptions:
    """The order of an epoch, and whose part of it.

    Attributes
    ----------
    shuffle
        ``False``: the order of the table. ``full``: a true shuffle; each sample is fetched by
        itself. ``chunks``, ``shards``: these are shuffled, and then samples within windows of
        several, so that each is read and decoded once. ``True``: the best that costs nothing:
        ``full`` where shards can be mapped (local, uncompressed), ``chunks`` where they are
        local and compressed, ``shards`` elsewhere.
    seed, epoch
        0 to 2**64 - 1 each. The order depends on these, ``shuffle``, ``window_bytes`` and the
        samples that are read, and on nothing else.
    window_bytes
        Uncompressed pictures that a window holds, at least two chunks or shards of them. More
        mix better: a batch is drawn from so many chunks. In a table that is sorted by class,
        the few shards of the default leave a batch with few classes: see ``shuffle_score``, and
        shuffle the table before it is built, or read local files in ``full``.
    rank, world
        Which reader of how many this is. Each reads its equal share of every batch.
    drop_last
        Leave out the last batch if it is smaller.
    weights
        (sample,): samples are drawn with replacement, each as often as its weight says, as
        many as there are; none of weight 0. Each draw is a pure function of seed, epoch and
        place. Where windows are shuffled, each window gets its share of the draws, and they are
        drawn from its samples.
    balance
        Name of a column of classes or whole numbers, as ``label``: samples are drawn so that all
        its values come equally often, within each by ``weights``; those without one are left
        out.
    """

    shuffle: bool | Shuffle = False
    seed: int = 0
    epoch: int = 0
    window_bytes: int = 256 * _MIB
    rank: int = 0
    world: int = 1
    drop_last: bool = False
    weights: Sequence[float] | NDArray[np.floating[Any]] | None = None
    balance: str | None = None

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        if not isinstance(self.shuffle, bool):
            one_of("shuffle", self.shuffle, ("True", "False", *get_args(Shuffle)))
        _within("seed", self.seed, _SEEDS)
        _within("epoch", self.epoch, _SEEDS)
        whole("window_bytes", self.window_bytes, f"try {256 * _MIB}")
        whole("world", self.world, "try 1")
        _within("rank", self.rank, self.world)
        if self.balance is not None and not isinstance(self.balance, str):
            raise OptionError(f"balance names a column, got {self.balance!r}; try 'label'")

    @property
    def drawn(self) -> bool:
        """Whether samples are drawn with replacement."""
        return self.weights is not None or self.balance is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Which samples are read.

    Attributes
    ----------
    failed
        ``drop`` leaves out slots whose picture failed; ``keep`` yields their zeros, not
        ``valid``; ``raise`` refuses to read samples that failed.
    rows
        Rows of the manifest. Those that have no samples here are passed over; those that the
        table has not are refused.
    mask
        (sample,) bool: which slots.
    classes
        Names of classes of the first label column, or their codes; values of a label column
        of whole numbers.
    keys
        Keys of rows of the manifest, as ``samples.rows["key"]`` has them.
    """

    failed: Failed = "drop"
    rows: Sequence[int] | NDArray[np.integer[Any]] | None = None
    mask: NDArray[np.bool_] | None = None
    classes: Sequence[str | int] | None = None
    keys: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        one_of("failed", self.failed, get_args(Failed))
        if isinstance(self.classes, str):
            raise OptionError(
                f"classes is a list of names, got {self.classes!r}; try [{self.classes!r}]"
            )
        if isinstance(self.keys, str):
            raise OptionError(f"keys is a list of keys, got {self.keys!r}; try [{self.keys!r}]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """In which form samples are handed over.

    Attributes
    ----------
    targets
        Names of further arrays of the store, each to be there in ``batch.targets``.
    dtype
        ``None``: as stored. ``uint8``: that, and refused if the store has another. ``float32``,
        ``float16``: normalised, see ``daskimg.normalize``.
    layout
        Of images: ``hwc`` or ``chw``.
    mode, mean, std
        How images are normalised. For ``mean-std`` the store's own mean and std are used if
        none are given; a store with splits has several, so there they must be.
    one_hot
        Hand labels of a class column over as (sample, class) float32: 1 for the class, or for
        each of several, 0 for others; all 0 for none.
    augment
        What is changed in each sample, drawn anew each epoch by (seed, epoch, row, part).
    transform
        ``transform(sample, rng) -> sample``, called for each sample as it is stored and then
        augmented, before it is normalised: a dict of ``image`` (height, width, channel),
        ``label`` and the targets, in arrays that it may change, and a
        ``numpy.random.Generator`` that belongs to this sample in this epoch. What it returns
        has the same shapes and dtypes for all samples. It is called by several threads.
    reuse
        Fill the same arrays again: a batch is valid until the next one is asked for, be it of
        this epoch or of the next. Fresh memory costs as much again as copying into it.
    allocate
        Called as ``allocate(shape, dtype)`` for each array of images and sharded targets, to
        have them in memory of another kind, as pinned memory: what it returns is written into,
        and stays the caller's; with ``reuse`` it is called once for each batch ahead, and its
        arrays are filled again.
    """

    targets: Sequence[str] = ()
    dtype: Output | None = None
    layout: Layout = "hwc"
    mode: Mode = "mean-std"
    mean: Sequence[float] | NDArray[np.floating[Any]] | None = None
    std: Sequence[float] | NDArray[np.floating[Any]] | None = None
    one_hot: bool = False
    augment: Augment | None = None
    transform: Transform | None = None
    reuse: bool = False
    allocate: Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]] = np.empty

    def __post_init__(self) -> None:
        """Refuse what is no form."""
        if self.dtype is not None:
            one_of("dtype", self.dtype, get_args(Output))
        one_of("layout", self.layout, get_args(Layout))
        one_of("mode", self.mode, get_args(Mode))
        if isinstance(self.targets, str):
            raise OptionError(
                f"targets is a list of names, got {self.targets!r}; try [{self.targets!r}]"
            )
        if self.augment is not None and not isinstance(self.augment, Augment):
            raise OptionError(
                f"augment is an Augment, got {self.augment!r}; try daskimg.Augment(mirror=0.5)"
            )
        if self.transform is not None and not callable(self.transform):
            raise OptionError(
                f"transform is a function of (sample, rng), got {self.transform!r}; leave it out"
            )
        given = self.mean is not None or self.std is not None or self.mode != "mean-std"
        if given and not self.normalised:
            raise OptionError(
                f"mode, mean and std normalise to dtype float32 or float16, got dtype={self.dtype}"
            )

    @property
    def normalised(self) -> bool:
        """Whether images become floating-point numbers."""
        return self.dtype in ("float32", "float16")


@dataclass(frozen=True, kw_only=True, eq=False)
class Effort:
    """What reading may cost; no option here changes what is read.

    Attributes
    ----------
    threads
        That copy and decode; by default one a core, up to 8.
    prefetch
        Batches made ready before they are asked for; fewer if ``budget`` does not hold them.
    budget
        Bytes of batches, the one handed out included, of what is read ahead, and of decoded
        chunks.
    connections
        Shards of a bucket on their way at once; fewer if ``budget`` does not hold them.
    cache
        A folder of this machine where shards of a bucket are kept, shared by all processes that
        name it: each is fetched once for all. Uncompressed ones are mapped from there. What
        lies there is checked by its crc32c whatever ``check`` says.
    cache_bytes
        The most that it may hold; the longest unused goes first.
    check
        ``first``: compare each chunk of a file with its crc32c when it is first touched since
        the store was opened, and each of a shard that comes from a bucket; what is damaged in
        place later is not seen. ``never``: not.
    """

    threads: int | None = None
    prefetch: int = 2
    budget: int = 1024 * _MIB
    connections: int = 16
    cache: str | os.PathLike[str] | None = None
    cache_bytes: int = 64 * 1024 * _MIB
    check: Check = "first"

    def __post_init__(self) -> None:
        """Refuse what does nothing."""
        if self.threads is not None:
            whole("threads", self.threads, "or leave it out")
        _within("prefetch", self.prefetch, _MAX_PREFETCH)
        whole("budget", self.budget, f"try {1024 * _MIB}")
        whole("connections", self.connections, "try 16")
        whole("cache_bytes", self.cache_bytes, f"try {64 * 1024 * _MIB}")
        one_of("check", self.check, get_args(Check))

    @property
    def workers(self) -> int:
        """Threads: as many as wished, or as this process has cores."""
        return self.threads or min(_MAX_THREADS, _cores())


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOptions(Selection, Form, OrderOptions, Effort):
    """How a store is read: ``OrderOptions``, ``Selection``, ``Form`` and ``Effort`` in one."""

    def __post_init__(self) -> None:
        """Let each part check itself."""
        for part in ReadOptions.__bases__:
            part.__post_init__(self)  # type: ignore[attr-defined]


def _within(name: str, value: object, stop: int) -> None:
    """Refuse what is no whole number from 0 on, below ``stop``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < stop:
        raise OptionError(
            f"{name} must be a whole number of 0 to {stop - 1}, got {value!r}; try 0"
        )


def _cores() -> int:
    # Of this process, where the system can tell: containers have fewer than the machine.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
