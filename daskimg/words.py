"""Counts and names in sentences: one place that knows a plural, and when a name needs quotes."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with what is counted, in the number that fits.

    >>> counted(1, "row"), counted(40_000, "row"), counted(0, "class", "classes")
    ('1 row', '40,000 rows', '0 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def named(name: object) -> str:
    r"""Return a name as it stands, or in quotes where its ends or its lines would not be seen.

    >>> named("snow leopard"), named(""), named(" cat"), named("a\nb")
    ('snow leopard', "''", "' cat'", "'a\\nb'")
    """
    text = str(name)
    seen = text and text == text.strip() and text.isprintable()
    return text if seen else repr(text)


def megabytes(count: float) -> str:
    """Return a number of bytes in megabytes of a million.

    >>> megabytes(1_234_500_000)
    '1,234.5 MB'
    """
    return f"{count / 1e6:,.1f} MB"
