"""What stands at the store's address, and what a run may therefore do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from daskimg import fetch, store
from daskimg.errors import StoreError
from daskimg.plan import differences
from daskimg.words import counted, megabytes

if TYPE_CHECKING:
    from daskimg.plan import Plan

Step = Literal["begin", "resume", "check", "relabel"]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What overwriting a store deletes.

    Attributes
    ----------
    url
        The store.
    samples
        Of its last commit; ``None`` if it was never finished.
    objects, bytes
        What is deleted, in number and in size: files of other people beside it stay.
    """

    url: str
    samples: int | None
    objects: int
    bytes: int

    def __str__(self) -> str:
        what = "an unfinished store" if self.samples is None else counted(self.samples, "sample")
        return f"{what}, {megabytes(self.bytes)}: {self.url}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What was found at an address before the table was read.

    Attributes
    ----------
    folder
        The address, opened.
    state
        ``empty``, ``unfinished`` or ``committed``.
    stored
        The stored plan, unless it is empty or is to be overwritten.
    commit
        The last valid commit, if it is committed.
    """

    folder: fetch.Folder
    state: store.State
    stored: store.StoredPlan | None = None
    commit: store.Commit | None = None

    def step(self, plan: Plan) -> Step:
        """Return what is to be done for ``plan``, or refuse what would mix two stores.

        Raises
        ------
        StoreError
            If the pixels would differ, naming what does.
        """
        if self.stored is None:
            return "begin"
        changed = differences(self.stored.pixels, plan.pixels())
        if changed:
            raise StoreError(_refusal(self.folder.url, self.stored, plan, changed))
        if self.state == "unfinished":
            return "resume"
        return "relabel" if differences(self.stored.labels, plan.labels()) else "check"

    def deletion(self) -> Deletion | None:
        """Return what a run would delete first; ``None`` unless it overwrites a store."""
        if self.state == "empty" or self.stored is not None:
            return None
        commit = store.last_commit(self.folder)
        sizes = store.owned_sizes(self.folder)
        samples = commit.samples if commit else None
        return Deletion(self.folder.url, samples, len(sizes), sum(sizes.values()))


def standing_of(url: str, *, overwrite: bool = False) -> Standing:
    """Look at an address before anything else is done.

    Parameters
    ----------
    url
        The store's.
    overwrite
        Whether a store of ours there may be deleted, once the run begins.

    Raises
    ------
    AccessError
        If a bucket refuses what a run needs.
    StoreError
        If it is not ours to write to.
    TransportError
        If it could not be reached: another try may work.
    """
    if not url:
        raise StoreError("the store's address is empty")
    if not fetch.is_url(url):
        _refuse_file(Path(fetch.local_path(url)))
    folder = fetch.open_folder(url)
    fetch.check_access(folder.url, fetch.STORE)
    try:
        state = store.state_of(folder)
        if state == "foreign":
            raise StoreError(
                f"{url} holds other files ({_listed(folder.names())}) and no daskimg store; "
                f"name a folder that is new or empty"
            )
        if state == "empty":
            return Standing(folder, state)
        commit = store.last_commit(folder)  # refuses a newer schema, also to be overwritten
        if overwrite:
            return Standing(folder, state)
        if commit is None:  # none at all, or a damaged one: what the ledger lists is kept
            state = "unfinished"
        return Standing(folder, state, store.read_plan(folder), commit)
    except OSError as error:
        raise StoreError(f"cannot read {url}: {error}") from error


def _refuse_file(path: Path) -> None:
    for place in (path, *path.absolute().parents):
        if place.is_file():
            raise StoreError(f"{place} is a file; a store is a folder: try {place}.zarr")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _refusal(url: str, stored: store.StoredPlan, plan: Plan, changed: list[str]) -> str:
    advice = "use another address, or --overwrite"
    if plan.facts.prefix_digest == stored.digest and plan.facts.rows > stored.rows:
        more = plan.facts.rows - stored.rows
        return (
            f"{url} was planned for the first {stored.rows:,} rows of this table, which has "
            f"{more:,} more now; build with --limit {stored.samples} to finish it, put the new "
            f"rows into a store of their own, or --overwrite"
        )
    return f"{url} holds other pixels: {'; '.join(changed)}; {advice}"
