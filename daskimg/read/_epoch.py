"""One epoch: batches in their order, made ready ahead by threads, to be left and taken up."""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from daskimg.augment import Moment
from daskimg.errors import OptionError
from daskimg.options import whole
from daskimg.read._ahead import stop
from daskimg.read._joined import JoinedSharded
from daskimg.read._order import ORDER, Drawn, InOrder, Shuffled, Windowed
from daskimg.read._reader import Reader
from daskimg.read._slots import chosen_slots, sample_weights
from daskimg.read._staged import Share

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from numpy.typing import NDArray

    from daskimg.read._batch import Batch
    from daskimg.read._options import OrderOptions, ReadOptions
    from daskimg.read._order import Order
    from daskimg.read._reader import Pending
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays
    from daskimg.store import Sharded

_STEPS = 64  # batches looked further at once
_BLOCK = 1 << 16  # places of the order found at once: 0.1 us each, and 100 us a call


class State(TypedDict):
    """Where an epoch stands.

    ``position`` counts the samples that all ranks have been given; ``order`` is what the order
    depends on besides seed and epoch.
    """

    seed: int
    epoch: int
    position: int
    order: dict[str, Any]


class Epoch:
    """The batches of one epoch, once: an iterator, to be left at any batch and taken up.

    ``len`` is the number of batches from where it began. Made by ``Samples.batches``.
    """

    def __init__(
        self, samples: Samples, arrays: AnyArrays, batch_size: int, options: ReadOptions
    ) -> None:
        whole("batch_size", batch_size, "try 256")
        _refuse_unequal(batch_size, options.world)
        self._options, self._size = options, batch_size
        sharded = arrays.sharded("image")
        assert sharded is not None  # arrays_of sees to it that images are sharded
        places = chosen_slots(samples, options)
        self._samples, self._slots = samples, samples.slots[places]
        self._weights = sample_weights(samples, places, options) if options.drawn else None
        self._kind = _kind(options, sharded)
        unit, self._window = _window(self._kind, options, sharded)
        self._unit = unit
        self._edges = sharded.edges(self._kind) if isinstance(sharded, JoinedSharded) else None
        self._reader = Reader(
            samples, arrays, options, batch_size // options.world, unit * self._window
        )
        self._nature = _nature(samples, self._slots, self._kind, unit * self._window)
        if self._weights is not None:
            self._nature["weights"] = _digest(self._weights, "<f8")
        self._turns = 1
        self._coming: deque[Share] = deque()
        self._pending: deque[Pending] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._begin_at(options.seed, options.epoch, 0)

    def every(self, turns: int, turn: int, *, own: bool = False) -> Epoch:
        """Read only each of so many of the batches to come, from number ``turn`` on.

        So several processes share the batches of a rank: these, in turns, give what one would
        alone. ``state_dict`` is then a process's own; where it stands in such a one, ``own``,
        it goes on there. Returns itself.
        """
        self.close()
        self._turns = turns
        ahead = 0 if own else turn * self._size
        first = min(self._position + ahead, len(self._slots))
        self._begin_at(self._seed, self._epoch, first)
        return self

    def _begin_at(self, seed: int, epoch: int, position: int) -> None:
        self._seed, self._epoch = seed, epoch
        self._order = self._ordered()
        self._block = (0, self._slots[:0])
        self._begun = self._position = self._next = position

    def _ordered(self) -> Order:
        slots, moment = self._slots, (self._seed, self._epoch)
        windows = Windowed(slots, self._unit, self._window, *moment, self._edges)
        if self._weights is not None:
            if self._window:
                places, bounds = windows.by_window()
                return Drawn(slots[places], self._weights[places], bounds, *moment)
            return Drawn(slots, self._weights, np.array([0, len(slots)]), *moment)
        if self._kind == "table":
            return InOrder(slots)
        return windows if self._window else Shuffled(slots, *moment)

    @property
    def order(self) -> NDArray[np.int64]:
        """(sample,) int64: the samples of the whole epoch, of all ranks, as they follow."""
        return self._samples.places(self._order.slots(0, len(self._slots)))

    def __repr__(self) -> str:
        return (
            f"Epoch(seed {self._seed}, epoch {self._epoch}): {self._position:,} of "
            f"{len(self._slots):,} samples read, {self._size:,} a batch, order {self._kind!r}"
        )

    def __len__(self) -> int:
        left = len(self._slots) - self._begun
        batches = left // self._size if self._options.drop_last else -(-left // self._size)
        return -(-batches // self._turns)

    def __iter__(self) -> Epoch:
        return self

    def __next__(self) -> Batch:
        try:
            self._make_ready()
            if not self._pending:
                raise StopIteration
            batch = self._pending[0].result()
        except BaseException:
            self.close()  # the place stays: asked again, it does the same again
            raise
        self._position = self._pending.popleft().behind
        self._reader.horizon.over()
        return batch

    def _make_ready(self) -> None:
        """Let threads fill the batch that is wanted now, and those ahead."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._options.workers, "daskimg-read")
            # Threads of an epoch that is let go half-way end when what they do is done.
            self._end = weakref.finalize(self, stop, self._threads)
            self._reader.prepare(len(self._slots) - self._position)
        horizon, wanted = self._reader.horizon, self._reader.ahead + 1 - len(self._pending)
        while len(self._coming) < wanted and self._draw():
            pass
        horizon.go_on()  # first: what is fetched ahead is fetched many at once
        for _ in range(min(wanted, len(self._coming))):
            share, moment = self._coming.popleft(), Moment(self._seed, self._epoch)
            self._pending.append(self._reader.begin(share, moment, self._threads))
        for _ in range(_STEPS):  # while threads are busy; not all at once, as the first waits
            if not horizon.looks_further or not self._draw():
                break
        horizon.go_on()

    def _draw(self) -> bool:
        """Find the slots of one more batch to come, unless there is none."""
        stop = min(self._next + self._size, len(self._slots))
        short = stop - self._next < self._size
        if self._next >= stop or (short and self._options.drop_last):
            return False
        share = self._share(self._next, stop)
        self._reader.horizon.announce(share.slots)
        self._coming.append(share)
        self._next = share.behind
        return True

    def _share(self, start: int, stop: int) -> Share:
        """Return this rank's equal part of a batch of all ranks; -1 where it is not full."""
        size = -(-(stop - start) // self._options.world)
        first = min(start + self._options.rank * size, stop)
        own = self._at(first, min(first + size, stop))
        behind = min(stop + (self._turns - 1) * self._size, len(self._slots))
        return Share(np.concatenate([own, np.full(size - len(own), -1)]), first, behind)

    def _at(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at some places, of a block that is found at once."""
        first, block = self._block
        if not first <= start <= stop <= first + len(block):
            count = len(self._slots)
            block = self._order.slots(start, min(max(stop, start + _BLOCK), count))
            first = start
            self._block = first, block
        return block[start - first : stop - first]

    def state_dict(self) -> State:
        """Return where the epoch stands: behind the last batch that was handed out.

        A few numbers, whatever the store's size; any rank's serves all, and also another
        number of ranks and another ``batch_size``.
        """
        return {
            "seed": self._seed,
            "epoch": self._epoch,
            "position": self._position,
            "order": dict(self._nature),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: its seed and epoch, behind its last batch.

        Raises
        ------
        OptionError
            If it is of other samples or of another kind of order.
        """
        missing = {"seed", "epoch", "position", "order"} - set(state)
        if missing:
            raise OptionError(
                f"the state has no {', '.join(sorted(missing))}; give what state_dict returned"
            )
        _refuse_other(state["order"], self._nature)
        replace(self._options, seed=state["seed"], epoch=state["epoch"])  # checks them
        position = state["position"]
        if not isinstance(position, int) or not 0 <= position <= len(self._slots):
            raise OptionError(
                f"position must be 0 to {len(self._slots)}, got {position!r}; "
                "give what state_dict returned"
            )
        self.close()
        self._begin_at(state["seed"], state["epoch"], position)

    def close(self) -> None:
        """Stop the threads, and forget what they made ready; reading on starts them again."""
        self._reader.horizon.close()
        for pending in self._pending:
            pending.drop()
        self._pending.clear()
        self._coming.clear()
        self._reader.release()
        self._next = self._position
        if self._threads is not None:
            self._end()
            self._threads = None

    def __enter__(self) -> Epoch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _refuse_unequal(batch_size: int, world: int) -> None:
    if batch_size % world:
        near = max(1, batch_size // world) * world
        raise OptionError(
            f"batch_size counts the samples of all ranks, so it must be a multiple of "
            f"world={world}, got {batch_size}; try {near}"
        )


def _kind(options: OrderOptions, sharded: Sharded | JoinedSharded) -> str:
    """Return how samples are ordered: as wished, or what costs nothing here."""
    if not options.shuffle and not options.drawn:
        return "table"
    if isinstance(options.shuffle, str):
        return options.shuffle
    if sharded.mappable:
        return "full"
    return "chunks" if sharded.local else "shards"


def _window(kind: str, options: OrderOptions, sharded: Sharded | JoinedSharded) -> tuple[int, int]:
    """Return the samples of a unit, and the units of a window; 0 if there are no windows."""
    if kind in ("table", "full"):
        return 1, 0
    unit = sharded.chunk if kind == "chunks" else sharded.shard
    return unit, max(2, options.window_bytes // (unit * sharded.sample_bytes))


def _nature(samples: Samples, slots: NDArray[np.int64], kind: str, window: int) -> dict[str, Any]:
    """Return what an order depends on besides seed and epoch, to be compared."""
    return {
        "version": ORDER,
        "store": samples.attributes["fingerprints"]["pixels"],
        "split": samples.split,
        "samples": len(slots),
        "slots": _digest(slots, "<i8"),
        "shuffle": kind,
        "window": window,
        "weights": None,
    }


def _digest(numbers: NDArray[Any], dtype: str) -> str:
    return hashlib.sha256(numbers.astype(dtype).tobytes()).hexdigest()


def _refuse_other(given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a state of which something differs, naming it."""
    for name, value in own.items():
        if given.get(name) != value:
            raise OptionError(
                f"the state is of another order: its {name} is {given.get(name)!r}, and here it "
                f"is {value!r}; open the store as it was then, or begin the epoch anew"
            )
