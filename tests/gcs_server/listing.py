"""A page of a listing: names after a token, folders folded."""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST = 1000
"""Names a page holds at most, as the service's pages do."""

_AFTER_ALL = "\U0010ffff"


@dataclass(slots=True)
class Page:
    """Names of objects, the folders beside them, and where the next page begins."""

    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    token: str | None = None

    def __len__(self) -> int:
        return len(self.names) + len(self.folders)


def page_of(names: Sequence[str], asked: Mapping[str, str]) -> Page:
    """Return the page that a query of the JSON API asks for.

    >>> page_of(["a/1", "a/2", "b"], {"delimiter": "/"})
    Page(names=['b'], folders=['a/'], token=None)
    """
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    most = min(int(asked.get("maxResults") or MOST), MOST)
    end = asked.get("endOffset") or _AFTER_ALL
    at, last = _start(names, asked, prefix), ""
    page = Page()
    while at < len(names) and names[at].startswith(prefix) and names[at] < end:
        if len(page) >= most:
            page.token = _token(last)
            break
        folder, found, _ = names[at][len(prefix) :].partition(delimiter or "\0")
        if found and delimiter:
            page.folders.append(prefix + folder + delimiter)
            last = page.folders[-1] + _AFTER_ALL
            at = bisect_right(names, last)
        else:
            last = names[at]
            page.names.append(last)
            at += 1
    return page


def _start(names: Sequence[str], asked: Mapping[str, str], prefix: str) -> int:
    at = bisect_left(names, max(prefix, asked.get("startOffset", "")))
    if asked.get("pageToken"):
        last = base64.urlsafe_b64decode(asked["pageToken"]).decode()
        at = max(at, bisect_right(names, last))
    return at


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()
