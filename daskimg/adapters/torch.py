"""Batches as PyTorch's tensors; samples by number."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from daskimg.adapters._held import Held, refuse_reuse
from daskimg.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daskimg.read import Batch, Epoch, Samples

_WORKER = "worker"  # in a state: whose own it is
_NO_WORKERS = -1  # seeds of loaders are 0 or more
_PLACE = ("seed", "epoch", "position")  # of a state: what is another each time
_WORDS = 1 << 64  # tensors in shared memory have no unsigned numbers


def own_rank() -> dict[str, int]:
    """Return which reader this is of how many: of ``torch.distributed``, or what torchrun says."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return {
            "rank": torch.distributed.get_rank(),
            "world": torch.distributed.get_world_size(),
        }
    return {
        "rank": int(os.environ.get("RANK", "0")),
        "world": int(os.environ.get("WORLD_SIZE", "1")),
    }


class TorchBatches(IterableDataset):  # type: ignore[misc]  # torch has no types here
    """The batches of an epoch, as ``Batch`` of tensors.

    To be iterated as it is. Under a ``DataLoader(..., batch_size=None, num_workers=n)`` the
    workers take batches in turns, so that the loader gives the same ones in the same order.
    Each time it gives the epoch of ``set_epoch``.

    Parameters
    ----------
    samples, batch_size, settings
        As for ``Samples.batches``; rank and world are those of ``torch.distributed``, or of the
        environment's RANK and WORLD_SIZE, if they are not given.
    device
        Where tensors go, the next batch while one is worked on; on a CUDA device through
        pinned memory.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        settings: Mapping[str, Any],
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        given = torch.device("cpu" if device is None else device)
        self._device = None if given.type == "cpu" else given  # nothing to be moved
        pinned = {"allocate": _pinned} if _is_cuda(self._device) else {}
        self._held = Held(samples, batch_size, {**own_rank(), **pinned, **settings})
        # In shared memory, so that workers that live on hear of it, too.
        self._epoch = torch.tensor([self._held.first]).share_memory_()
        # Whose workers were the first to read since a state was loaded: they went on there, and
        # those of a later iteration, which are new and have the state, too, must not.
        self._read_by = torch.tensor([_NO_WORKERS]).share_memory_()
        # States that were loaded, their number first; and how many this copy has heard of.
        self._loaded = torch.zeros(1 + len(_PLACE), dtype=torch.int64).share_memory_()
        self._heard = 0
        self._state: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._held.batches(int(self._epoch)))

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration, and those behind it, give another epoch."""
        self._epoch[0] = epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        self._hear()
        own = _WORKER in (self._held.waiting() or {})
        loader = _NO_WORKERS if worker is None else worker.seed - worker.id
        first = int(self._read_by)
        if not own and first not in (_NO_WORKERS, loader):
            self._held.forget()
        if worker is None or first == _NO_WORKERS:
            self._read_by[0] = loader
        epoch = self._held.go_on(int(self._epoch))
        if worker is not None:
            refuse_reuse(self._held, "a worker's are sent while it goes on")
            epoch.every(worker.num_workers, worker.id, own=own)
        self._state = _state_of(epoch)
        with epoch:
            yield from self._handed_over(epoch)

    def _hear(self) -> None:
        """Go on from the state that was loaded since, in the process that made this one."""
        number, *place = self._loaded.tolist()
        if number != self._heard:
            self._heard = number
            numbers = (each % _WORDS for each in place)
            self._held.wait_at(self._held.beginning() | dict(zip(_PLACE, numbers, strict=True)))

    def _handed_over(self, epoch: Epoch) -> Iterator[Batch]:
        waiting = None
        for batch in epoch:
            found = _tensors(batch), _state_of(epoch)
            if self._device is None:
                self._state = found[1]
                yield found[0]
                continue
            moved = _Moved(found[0], self._device)
            if self._held.reuses:
                moved.finish()
            if waiting is not None:
                self._state = waiting[1]
                yield waiting[0].ready()
            waiting = moved, found[1]
        if waiting is not None:
            self._state = waiting[1]
            yield waiting[0].ready()

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands, behind the last batch it gave; see ``Epoch.state_dict``.

        A worker's state is its own, and only for a worker of that number among as many.

        Raises
        ------
        OptionError
            If workers have read: how far a loader has handed their batches on, it alone knows.
        """
        if get_worker_info() is None and int(self._read_by) != _NO_WORKERS:
            raise OptionError(
                "the batches were read in worker processes, so where they stand is not known "
                "here; try torchdata's StatefulDataLoader and its state_dict, or num_workers=0"
            )
        waiting = self._held.waiting() or self._state
        return dict(waiting or self._held.batches(int(self._epoch)).state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there in the next iteration; the one behind it gives the same epoch anew.

        Under workers, too: they share the batches behind the state, in turns.

        Raises
        ------
        OptionError
            If it is of other samples, of another order, or of a worker that this one is not.
        """
        worker = get_worker_info()
        if _WORKER in state and state[_WORKER] != _turn():
            here = "no worker" if worker is None else f"worker {worker.id} of {worker.num_workers}"
            raise OptionError(
                "the state is of worker {} of {}, and this is {}; load it with the loader that "
                "gave it, with as many workers".format(*state[_WORKER], here)
            )
        self._epoch[0] = self._held.wait_at(state)
        if worker is None:
            self._read_by[0] = _NO_WORKERS
            self._heard += 1
            place = (np.uint64(state[name]).astype(np.int64).item() for name in _PLACE)
            self._loaded[:] = torch.tensor([self._heard, *place])


class TorchSamples(Dataset):  # type: ignore[misc]  # torch has no types here
    """(image, label) by number, for samplers of PyTorch's own; with targets, a third, a dict.

    Parameters
    ----------
    samples, settings
        As for ``Samples.take``.
    """

    def __init__(self, samples: Samples, settings: Mapping[str, Any]) -> None:
        self._held = Held(samples, 1, settings)
        self._settings = dict(settings)
        self._epoch = torch.tensor([self._held.first]).share_memory_()
        self._taker: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return len(self._held.samples)

    def set_epoch(self, epoch: int) -> None:
        """Let augmentation draw as in another epoch."""
        self._epoch[0] = epoch

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        return self.__getitems__([range(len(self))[place]])[0]

    def __getitems__(self, places: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return several samples, read together: PyTorch asks so for a batch."""
        batch = _tensors(self._take(places))
        pairs = zip(batch.image, batch.label, strict=True)
        if not batch.targets:
            return list(pairs)
        return [
            (*pair, {name: each[i] for name, each in batch.targets.items()})
            for i, pair in enumerate(pairs)
        ]

    def _take(self, places: Sequence[int]) -> Batch:
        if self._taker is None or self._taker[0] != os.getpid():
            self._taker = os.getpid(), self._held.samples.taker(**self._settings)
        found: Batch = self._taker[1].take(np.asarray(places), int(self._epoch))
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_taker": None}


class _Moved:
    """A batch on its way to a device, while the one before is worked on."""

    _streams: dict[torch.device, Any] = {}  # noqa: RUF012  one a device, for all epochs

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self._device, self._event = device, None
        if not _is_cuda(device):
            self._batch = _each(batch, lambda tensor: tensor.to(device))
            return
        stream = self._streams.setdefault(device, torch.cuda.Stream(device))
        with torch.cuda.stream(stream):
            self._batch = _each(batch, lambda tensor: tensor.to(device, non_blocking=True))
            self._event = stream.record_event()
        self._kept = batch  # its memory must not be taken by another before the copy has ended

    def finish(self) -> None:
        """Wait until the copy has ended."""
        if self._event is not None:
            self._event.synchronize()

    def ready(self) -> Batch:
        """Return the batch, for work that is queued from now on."""
        if self._event is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._event)
            _each(self._batch, lambda tensor: tensor.record_stream(stream))
        return self._batch


def _turn() -> list[int] | None:
    """Return this worker's number, and of how many it is one; ``None`` outside of workers."""
    worker = get_worker_info()
    return None if worker is None else [worker.id, worker.num_workers]


def _state_of(epoch: Epoch) -> dict[str, Any]:
    """Return where an epoch stands, marked if it is only a worker's part of it."""
    turn = _turn()
    return dict(epoch.state_dict()) | ({} if turn is None else {_WORKER: turn})


def _is_cuda(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"


def _pinned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    like = torch.from_numpy(np.empty(0, dtype)).dtype
    return torch.empty(shape, dtype=like, pin_memory=True).numpy()


def _tensors(batch: Batch) -> Batch:
    return _each(batch, torch.from_numpy)


def _each(batch: Batch, change: Any) -> Batch:
    targets = {name: change(array) for name, array in batch.targets.items()}
    image, label, sample, valid = map(change, batch[:4])
    return type(batch)(image, label, sample, valid, targets)
