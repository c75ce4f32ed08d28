"""How a broken promise is told."""

from __future__ import annotations


def demand(truth: object, sentence: str) -> None:
    """Raise ``AssertionError``, also where Python runs without assertions."""
    if not truth:
        raise AssertionError(sentence)
