"""Opening finished stores: one, or several as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskimg import store
from daskimg.errors import OptionError
from daskimg.read._columns import merged_classes
from daskimg.read._joined import check_alike
from daskimg.read._samples import Samples
from daskimg.read._stored import Stored

if TYPE_CHECKING:
    from collections.abc import Sequence


def splits_of(url: str) -> tuple[str, ...]:
    """Return the names of a store's splits; none, if its arrays are in its root.

    Raises
    ------
    StoreError
        If there is no finished store.
    """
    return store.open_committed(str(url)).splits


def open_store(url: str, split: str | None = None) -> Samples:
    """Open a finished store for reading.

    Parameters
    ----------
    url
        A local path or a URL.
    split
        Which split, of a store that has splits.

    Raises
    ------
    StoreError
        If there is none, it is not finished, or it is not daskimg's.
    OptionError
        If there is no such split, or the store has splits and none is named.
    """
    return Samples([Stored(str(url), split)])


def open_stores(
    urls: Sequence[str], split: str | None = None, *, merge_classes: bool = False
) -> Samples:
    """Open several stores as one: last month's pictures, and behind them this month's.

    Parameters
    ----------
    urls
        Local paths or URLs.
    split
        Which split of each.
    merge_classes
        Where the names of classes differ, number them anew: those of the first store keep
        their codes, and new ones follow. Otherwise that is refused.

    Raises
    ------
    StoreError
        If one of them is not there, not finished, or not daskimg's.
    OptionError
        If their arrays, recipes, columns or classes differ, naming the difference.
    """
    if isinstance(urls, str) or not urls:
        raise OptionError(f"urls is a list of stores, got {urls!r}; try open_store for one")
    stores = [Stored(str(url), split) for url in urls]
    check_alike(stores, classes=not merge_classes)
    return Samples(stores, None, merged_classes(stores) if merge_classes else None)
