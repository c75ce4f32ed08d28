"""The log of runs: who built, when, with what, and what was met. No byte depends on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daskimg.store._layout import RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskimg.fetch import Folder


def log_run(folder: Folder, began: str, facts: Mapping[str, Any]) -> None:
    """Keep what is to be known of a run, as an object of its own that nothing writes again.

    Parameters
    ----------
    folder
        The store.
    began
        When, as ``20261126T221711Z``: names sort by it.
    facts
        Plain data, its ``call`` among them: no secrets, no addresses.
    """
    name = f"{RUNS}/{began}-{facts['call'][-8:]}.json"
    folder.create(name, json.dumps(dict(facts), indent=1).encode())


def read_runs(folder: Folder) -> list[dict[str, Any]]:
    """Return the logs of a store's runs, the oldest first."""
    return [json.loads(folder.read(name)) for name in sorted(folder.sizes(RUNS))]
