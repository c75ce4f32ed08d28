"""Class names given from outside: a file, an earlier store, a list, or a profile of codes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.errors import ManifestError, OptionError, TransportError
from daskimg.manifest._streams import NOT_UTF8, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskimg.manifest._choices import LabelChoice

MOST_CODES = 100_000
"""Codes that a profile may give: those it leaves out in between become classes too."""


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names in the order of their numbers.

    Attributes
    ----------
    names
        The names.
    coded
        Whether a column of numbers holds the places in ``names`` instead of names.
    """

    names: tuple[str, ...]
    coded: bool = False


Classes = dict[str, ClassNames]
"""Names by the array they are for; under "" for whichever array comes first."""


def read_classes(given: str | Sequence[str], labels: Sequence[LabelChoice]) -> Classes:
    """Return the names in ``given``: a file's, a store's, or themselves.

    Raises
    ------
    OptionError
        If there is no such file or store, a name comes twice, or a profile has no column of
        those that are labels.
    """
    if not isinstance(given, str):
        return {"": ClassNames(_checked(tuple(given), "classes"))}
    if fetch.is_folder(given):
        return _of_store(given)
    text = _text(given)
    if text.lstrip().startswith("{"):
        return _of_profile(text, given, labels)
    return {"": ClassNames(_checked(_of_file(text, given), given))}


def _text(location: str) -> str:
    try:
        with opened(location) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OptionError(f"{location} {NOT_UTF8}") from None
    except ManifestError as error:
        raise OptionError(f"cannot read classes: {error}") from None


def _of_file(text: str, location: str) -> tuple[Any, ...]:
    if not text.lstrip().startswith("["):
        return tuple(filter(None, (line.rstrip("\r") for line in text.split("\n"))))
    try:
        return tuple(json.loads(text))
    except ValueError as error:
        raise OptionError(
            f"{location} is neither a JSON list nor names in lines: {error}"
        ) from None


def _of_profile(text: str, location: str, labels: Sequence[LabelChoice]) -> Classes:
    """Return the names of the label columns that a JSON object gives the codes of."""
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise OptionError(f"{location} cannot be read as JSON: {error}") from None
    odd = [column for column, codes in profile.items() if not isinstance(codes, dict)]
    if odd:
        raise OptionError(
            f"{location} is a JSON object, but not of the form {{column: {{name: code}}}}: "
            f"{odd[0]!r} has no names with codes; a list of names in order would do as well"
        )
    found = {
        label.array: ClassNames(_in_order(profile[label.column], label.column, location), True)
        for label in labels
        if label.column in profile
    }
    if not found:
        wanted = ", ".join(label.column for label in labels) or "none is chosen"
        raise OptionError(
            f"{location} has no codes of the label columns ({wanted}); it has those of "
            f"{', '.join(profile) or 'none'}; name one of them with labels= (--label)"
        )
    return found


def _in_order(codes: dict[str, Any], column: str, location: str) -> tuple[str, ...]:
    """Return names by their codes; a code that has none is named after its number."""
    where = f"{location}, {column!r}"
    for name, code in codes.items():
        if not _is_code(code):
            raise OptionError(
                f"{where}: the code of {name!r} must be a whole number of 0 to "
                f"{MOST_CODES - 1:,}, got {json.dumps(code)[:40]}"
            )
    names = {int(code): name for name, code in codes.items()}
    if len(names) < len(codes):
        code, _ = Counter(map(int, codes.values())).most_common(1)[0]
        raise OptionError(f"{where}: the code {code} comes twice")
    places = range(max(names, default=-1) + 1)
    return _checked(tuple(names.get(code, str(code)) for code in places), where)


def _is_code(code: object) -> bool:
    if isinstance(code, bool) or not isinstance(code, (int, float)):
        return False
    return 0 <= code < MOST_CODES and float(code).is_integer()


def _of_store(url: str) -> Classes:
    try:
        root = json.loads(fetch.open_folder(url).read("zarr.json"))
        ours = root["attributes"]["daskimg"]
        names = {
            array: ClassNames(_checked(tuple(ours["classes"][column]), url))
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
