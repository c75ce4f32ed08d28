"""Secrets in a table's addresses: kept from the rows, and sealed for those who read pictures.

The rows table, keys and fingerprints see addresses without signatures, tokens and passwords. What
workers need beside them travels in the staged rows as a sealed column; its key is made for one
plan and is only ever in memory.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg import fetch
from daskimg.errors import StoreError
from daskimg.manifest._cells import is_text, objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from daskimg.manifest._cells import Column

SEALED = "daskimg_sealed"
"""The column of staged rows that holds what is secret of them."""

_NONCE = 12


def public_column(column: Column) -> Column:
    """Return a column without the secrets in its addresses: itself, if it has none."""
    if isinstance(column, np.ndarray):
        found = [fetch.public(cell) if isinstance(cell, str) else cell for cell in column]
        same = all(a is b for a, b in zip(found, column, strict=True))  # what is public is itself
        return column if same else objects(found, len(found))
    if not is_text(column):
        return column
    doubtful = pc.match_substring_regex(column, fetch.MAY_HOLD).fill_null(False)
    if not pc.any(doubtful).as_py():
        return column
    cells = column.to_pylist()
    public = [cell if cell is None else fetch.public(cell) for cell in cells]
    return column if public == cells else pa.array(public, pa.string())


def new_key() -> bytes:
    """Return a key for one plan: 256 bits."""
    return os.urandom(32)


def sealed(secrets: Mapping[str, Column], rows: int, key: bytes) -> pa.Array:
    """Return (row,) sealed cells, by column, of each row; null where nothing is secret."""
    columns = {name: list(_cells(column)) for name, column in secrets.items()}
    found: list[bytes | None] = []
    for row in range(rows):
        own = {name: cells[row] for name, cells in columns.items()}
        held = {name: cell for name, cell in own.items() if isinstance(cell, str)}
        secret = any(fetch.public(cell) != cell for cell in held.values())
        found.append(_seal(json.dumps(held).encode(), key) if secret else None)
    return pa.array(found, pa.binary())


def unsealed(column: Iterable[Any], key: bytes) -> Iterator[dict[str, str]]:
    """Yield the secret cells of each row, by column.

    Raises
    ------
    StoreError
        If they were sealed with another key: by another call of the run.
    """
    for cell in column:
        yield json.loads(_open(bytes(cell), key)) if isinstance(cell, bytes) else {}


def _cells(column: Column) -> Iterable[Any]:
    return column if isinstance(column, np.ndarray) else column.to_pylist()


def _seal(content: bytes, key: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # no reader needs it

    nonce = os.urandom(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, content, None)


def _open(content: bytes, key: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(content[:_NONCE], content[_NONCE:], None)
    except InvalidTag:
        raise StoreError("the rows were staged by another call of the run; it goes on") from None
