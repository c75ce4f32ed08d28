"""Where tiles lie in a picture: pure arithmetic on one axis at a time."""

from __future__ import annotations

from typing import Literal, NamedTuple

Edge = Literal["drop", "pad", "shift"]


class Cut(NamedTuple):
    """One axis of a tile: ``length`` pixels from ``start`` on, which begin at ``offset`` in it."""

    start: int
    length: int
    offset: int = 0


def whole_cuts(length: int, tile: int, stride: int, edge: Edge) -> list[Cut]:
    """Return the cuts of tiles along an axis; with ``pad``, the last may be shorter.

    >>> [cut.start for cut in whole_cuts(10, 4, 4, "drop")]
    [0, 4]
    >>> [cut.start for cut in whole_cuts(10, 4, 4, "shift")]
    [0, 4, 6]
    >>> whole_cuts(10, 4, 4, "pad")[-1]
    Cut(start=8, length=2, offset=0)
    """
    if edge == "pad":
        beyond = -(-max(0, length - tile) // stride) + 1  # the first tile to reach the end is last
        starts = range(0, min(length, beyond * stride), stride)
        return [Cut(start, min(tile, length - start)) for start in starts]
    cuts = [Cut(start, tile) for start in range(0, length - tile + 1, stride)]
    if edge == "shift" and cuts and cuts[-1].start + tile < length:
        cuts.append(Cut(length - tile, tile))
    return cuts


def count_cuts(length: int, tile: int, stride: int, edge: Edge) -> int:
    """Return how many cuts there are, without making them."""
    if edge == "pad":
        return min(-(-max(0, length - tile) // stride) + 1, -(-length // stride))
    if length < tile:
        return 0
    count, rest = divmod(length - tile, stride)
    return count + 1 + (edge == "shift" and rest > 0)


def centred_cuts(length: int, tile: int) -> list[Cut]:
    """Return cuts that cover an axis; a shorter one lies in the middle of its tile.

    >>> centred_cuts(10, 4)
    [Cut(start=0, length=4, offset=0), Cut(start=4, length=4, offset=0),
     Cut(start=8, length=2, offset=1)]
    """
    lengths = [(start, min(tile, length - start)) for start in range(0, length, tile)]
    return [Cut(start, part, (tile - part) // 2) for start, part in lengths]
