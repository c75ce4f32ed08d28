"""The samples that an adapter reads, in whichever process it finds itself."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

from daskimg.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskimg.read import Epoch, Samples


class Held:
    """Samples and how they are read, for one epoch after another.

    Parameters
    ----------
    samples
        The samples.
    batch_size
        Of all ranks together.
    settings
        Fields of ``ReadOptions``; with rank and world.
    """

    def __init__(self, samples: Samples, batch_size: int, settings: Mapping[str, Any]) -> None:
        self._samples, self._size, self._settings = samples, batch_size, dict(settings)
        self._process = os.getpid()
        self._state: Mapping[str, Any] | None = None
        self.batches(self.first)  # refuses what does not fit, before the first batch

    @property
    def first(self) -> int:
        """The number of the first epoch."""
        return int(self._settings.get("epoch", 0))

    @property
    def samples(self) -> Samples:
        """The samples, opened again in a process that was forked: connections do not fork."""
        if self._process != os.getpid():
            self._samples = pickle.loads(pickle.dumps(self._samples))
            self._process = os.getpid()
        return self._samples

    @property
    def reuses(self) -> bool:
        """Whether a batch is overwritten by the next."""
        return bool(self._settings.get("reuse", False))

    def batches(self, epoch: int) -> Epoch:
        """Return an epoch from its beginning."""
        return self.samples.batches(self._size, **self._settings | {"epoch": epoch})

    def beginning(self) -> dict[str, Any]:
        """Return the state of the first epoch's beginning."""
        return dict(self.batches(self.first).state_dict())

    def go_on(self, epoch: int) -> Epoch:
        """Return an epoch from where a state was taken, if one waits, or its beginning."""
        state, self._state = self._state, None
        found = self.batches(epoch)
        if state is not None:
            found.load_state_dict(state)
        return found

    def wait_at(self, state: Mapping[str, Any]) -> int:
        """Keep a state for the next time it goes on; return its epoch."""
        self.batches(self.first).load_state_dict(state)  # refuses that of other samples
        self._state = dict(state)
        return int(state["epoch"])

    def waiting(self) -> Mapping[str, Any] | None:
        """Return the state that waits, if one does."""
        return self._state

    def forget(self) -> None:
        """Let no state wait."""
        self._state = None


def refuse_reuse(held: Held, why: str) -> None:
    """Refuse memory that is filled again while somebody may still read it."""
    if held.reuses:
        raise OptionError(f"reuse overwrites batches, and {why}; leave it out")
