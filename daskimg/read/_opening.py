"""Opening finished stores: one, or several as one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daskimg import store
from daskimg.errors import OptionError
from daskimg.options import given
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
    return store.open_committed(_address(url)).splits


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
    return Samples([Stored(_address(url), split)])


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
    several: object = urls
    places = list(several) if isinstance(several, Iterable) else []
    if isinstance(several, str) or not places:
        raise OptionError(f"urls is a list of stores, got {urls!r}; try open_store for one")
    stores = [Stored(_address(place), split) for place in places]
    check_alike(stores, classes=not merge_classes)
    return Samples(stores, None, merged_classes(stores) if merge_classes else None)


def _address(url: object) -> str:
    if isinstance(url, str | os.PathLike):
        return str(os.fspath(url))
    if isinstance(url, Samples):
        raise OptionError(
            f"a store is opened by its path or URL, got samples that are open; try {url.url!r}"
        )
    raise OptionError(f"a store is opened by its path or URL, got {given(url)}; try 'out.zarr'")
