"""Dask's own performance report of a run: tasks, bandwidths and profiles, in one HTML file."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from distributed import performance_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client


@contextmanager
def recorded(client: Client, file: str | None, on_note: Callable[[str], None]) -> Iterator[None]:
    """Write Dask's report to a file, if one is named, when the context ends.

    Also of a run that a fault has stopped. A page that cannot be written stops none.
    """
    if file is None:
        yield
        return
    page = performance_report(file, mode="inline")  # which needs no network to be looked at
    with client.as_current():
        page.__enter__()
        try:
            yield
        except Exception:
            with suppress(Exception):  # the scheduler may be what is gone
                page.__exit__(None, None, None)
            raise
        try:
            page.__exit__(None, None, None)
        except Exception as error:
            on_note(f"Dask's performance report could not be written: {error}")
