"""Sizes of pictures before any is decoded: the beginnings of files, read in order, ahead."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from daskimg import fetch
from daskimg.decode import read_beginning, read_header
from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daskimg.decode import Source
    from daskimg.options import DecodeOptions

IN_FLIGHT = 64
"""Remote files asked for at once: an answer is 64 KiB, and takes longer to come than to read."""

_FIRST = 1 << 16  # bytes: a photograph's metadata rarely reach beyond
_STEPS = (_FIRST, 8 * _FIRST)  # then the whole file
_END = 1 << 16  # bytes of a PNG behind the pixels in which its orientation is looked for


class Header(NamedTuple):
    """What a file declares: height and width in pixels, upright, and Pillow's mode as stored."""

    height: int
    width: int
    mode: str


def read_headers(
    places: Iterable[str], options: DecodeOptions, extensions: Sequence[str] = ()
) -> Iterator[Header | SampleError]:
    """Yield what each file declares, or what is wrong with it, in the order of ``places``.

    A header is what ``decode`` will find, over ``options.max_pixels`` refused likewise. Of a
    file only the first 64 KiB are read, or eight times as much, if these settle it: so for
    JPEG, PNG, GIF, BMP, and for a TIFF whose directory comes first. Any other is read whole,
    once. Broken pixels are found by ``decode`` only. A PNG's orientation that is behind its
    pixels is found in the last 64 KiB.

    Remote files are read up to ``IN_FLIGHT`` ahead; local ones when their turn comes, since
    the page cache is faster than a thread switch.

    Parameters
    ----------
    places
        Where the files are.
    options
        As they will be decoded.
    extensions
        What to put behind a place where there is nothing; see ``fetch.find_ahead``.

    Raises
    ------
    TransportError
        If a file could not be reached, after retries.
    """
    read = partial(_read, options=options, extensions=extensions)
    yield from fetch.in_order(read, places, IN_FLIGHT)


def header_of(content: bytes | SampleError, options: DecodeOptions) -> Header | SampleError:
    """Return what a file that was read declares, or what is wrong with it."""
    if isinstance(content, SampleError):
        return content
    try:
        return _header(read_header(content, options))
    except SampleError as error:
        return error


def _read(place: str, options: DecodeOptions, extensions: Sequence[str]) -> Header | SampleError:
    try:
        measure = partial(_measured, options=options)
        header, _ = fetch.under_extensions(measure, place, extensions)
    except SampleError as error:
        return error
    return header


def _measured(place: str, options: DecodeOptions) -> Header:
    for size in _STEPS:
        content = fetch.read_part(place, 0, size, options.max_bytes)
        if len(content) != size:  # all of it, also from a server that knows no ranges
            found = header_of(content, options)
            if isinstance(found, SampleError):
                raise found
            return found
        source = read_beginning(content, options, partial(fetch.read_part, place, -_END))
        if source is not None:
            return _header(source)
    return _header(read_header(fetch.read(place, options.max_bytes), options))


def _header(source: Source) -> Header:
    return Header(source.height, source.width, source.mode)
