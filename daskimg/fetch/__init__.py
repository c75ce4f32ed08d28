"""The only door to fsspec: where things are, how they are read, how objects are put.

Local paths never pass through fsspec: ``#``, ``%``, ``::`` and spaces are ordinary
characters in a file name, and a local read costs microseconds.
"""

from daskimg.fetch._objects import Folder, open_folder
from daskimg.fetch._paths import expand, is_folder, is_url, join, local_path, name_of
from daskimg.fetch._sources import (
    Found,
    find_ahead,
    in_order,
    limited,
    open_input,
    read,
    read_ahead,
    read_part,
    under_extensions,
)

__all__ = [
    "Folder",
    "Found",
    "expand",
    "find_ahead",
    "in_order",
    "is_folder",
    "is_url",
    "join",
    "limited",
    "local_path",
    "name_of",
    "open_folder",
    "open_input",
    "read",
    "read_ahead",
    "read_part",
    "under_extensions",
]
