"""Batches as JAX's arrays, on its devices before they are asked for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import jax

from daskimg.adapters._held import Held, refuse_reuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskimg.read import Batch, Samples


class JaxBatches:
    """The batches of an epoch, as ``Batch`` of arrays on devices.

    ``sample`` stays with NumPy: it names slots, and JAX would make it 32 bits. Each iteration
    gives the epoch of ``set_epoch``.

    Parameters
    ----------
    samples, batch_size, settings
        As for ``Samples.batches``; rank and world are ``jax.process_index()`` and
        ``jax.process_count()``, if they are not given.
    sharding
        How arrays lie on devices; with several processes they are global arrays, of which
        each process has its part of the batch. On the default device, if none is given.
    ahead
        Batches on their way to the devices while one is worked on.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        settings: Mapping[str, Any],
        sharding: Any = None,
        ahead: int = 1,
    ) -> None:
        own = {"rank": jax.process_index(), "world": jax.process_count()}
        self._held = Held(samples, batch_size, own | dict(settings))
        refuse_reuse(self._held, "JAX may use their memory as it is")
        self._sharding, self._ahead = sharding, ahead
        self._epoch = self._held.first
        self._state: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._held.batches(self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration, and those behind it, give another epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        with self._held.go_on(self._epoch) as epoch:
            self._state = epoch.state_dict()
            waiting: deque[tuple[Batch, Mapping[str, Any]]] = deque()
            for batch in epoch:
                waiting.append((self._put(batch), epoch.state_dict()))
                if len(waiting) > self._ahead:
                    yield self._handed_over(waiting)
            while waiting:
                yield self._handed_over(waiting)

    def _handed_over(self, waiting: deque[tuple[Batch, Mapping[str, Any]]]) -> Batch:
        batch, self._state = waiting.popleft()
        return batch

    def _put(self, batch: Batch) -> Batch:
        targets = {name: self._array(each) for name, each in batch.targets.items()}
        image, label, valid = map(self._array, (batch.image, batch.label, batch.valid))
        return type(batch)(image, label, batch.sample, valid, targets)

    def _array(self, array: Any) -> Any:
        if self._sharding is None:
            return jax.device_put(array)
        return jax.make_array_from_process_local_data(self._sharding, array)

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands, behind the last batch it gave; see ``Epoch.state_dict``."""
        waiting = self._held.waiting() or self._state
        return dict(waiting or self._held.batches(self._epoch).state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there in the next iteration; the one behind it gives the same epoch anew."""
        self._epoch = self._held.wait_at(state)
