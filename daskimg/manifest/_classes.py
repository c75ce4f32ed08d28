"""Class names given from outside: a file, an earlier store, or a list."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.errors import ManifestError, OptionError, TransportError
from daskimg.manifest._streams import NOT_UTF8, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

Classes = dict[str, tuple[str, ...]]
"""Names by the array they are for; under "" for whichever array comes first."""


def read_classes(given: str | Sequence[str]) -> Classes:
    """Return the names in ``given``: a file's, a store's, or themselves.

    Raises
    ------
    OptionError
        If there is no such file or store, or a name comes twice.
    """
    if not isinstance(given, str):
        return {"": _checked(tuple(given), "classes")}
    if fetch.is_folder(given):
        return _of_store(given)
    return {"": _checked(_of_file(given), given)}


def _of_file(location: str) -> tuple[Any, ...]:
    try:
        with opened(location) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OptionError(f"{location} {NOT_UTF8}") from None
    except ManifestError as error:
        raise OptionError(f"cannot read classes: {error}") from None
    if not text.lstrip().startswith("["):
        return tuple(filter(None, (line.rstrip("\r") for line in text.split("\n"))))
    try:
        return tuple(json.loads(text))
    except ValueError as error:
        raise OptionError(
            f"{location} is neither a JSON list nor names in lines: {error}"
        ) from None


def _of_store(url: str) -> Classes:
    try:
        root = json.loads(fetch.open_folder(url).read("zarr.json"))
        ours = root["attributes"]["daskimg"]
        names = {
            array: _checked(tuple(ours["classes"][column]), url)
            for array, (column, _) in ours["columns"].items()
            if column in ours["classes"]
        }
    except TransportError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OptionError(
            f"{url} is no finished daskimg store to take classes from; "
            f"a file with one name a line would do"
        ) from None
    if not names:
        raise OptionError(f"the store {url} has no classes")
    return names


def _checked(names: tuple[Any, ...], source: str) -> tuple[str, ...]:
    texts = tuple(str(name) for name in names)
    if not texts or not all(texts):
        raise OptionError(f"{source}: there must be classes, and none without a name")
    if len(set(texts)) < len(texts):
        name, _ = Counter(texts).most_common(1)[0]
        raise OptionError(f"{source}: the class {name!r} comes twice")
    return texts
