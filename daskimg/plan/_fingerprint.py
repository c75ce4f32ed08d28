"""What an array depends on, as one digest, and what differs between two of them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGEST = re.compile("[0-9a-f]{64}")


def fingerprint(parts: dict[str, Any]) -> str:
    """Return the sha256 of what an array depends on, as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Name what differs between a stored plan's parts and those asked for."""
    before, after = dict(_leaves(stored)), dict(_leaves(asked))
    return [
        f"{name}{_values(before.get(name), after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of everything in nested dicts and lists."""
    if isinstance(value, dict):
        inner = ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        names = [str(item.get("name", i)) for i, item in enumerate(value)]
        # Which there are, and in which order: a step that moved is another recipe.
        yield f"{name} in order", ", ".join(names)
        inner = (
            (each if names.count(each) == 1 else f"{each} {i + 1}", item)
            for i, (each, item) in enumerate(zip(names, value, strict=True))
        )
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, item in inner:
        yield from _leaves(item, f"{name}.{key}" if name else key)


def _values(stored: str | None, asked: str | None) -> str:
    """Return both values, unless they are digests, which say nothing to people."""
    if any(_DIGEST.fullmatch(text or "") for text in (stored, asked)):
        return ""
    return f" ({_shown(stored)} in the store, {_shown(asked)} asked)"


def _shown(text: str | None) -> str:
    return "nothing" if text is None else text if len(text) <= 160 else f"{text[:157]}..."
