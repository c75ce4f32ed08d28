"""Tables of pictures: sources, checks, keys, label encoding.

A table is read twice: ``Manifest.scan`` settles types, labels and keys for the whole of it,
then ``Manifest.pieces`` gives its rows, numbered. Neither holds more than a piece. Dask is
never imported: its frame is known by its class, and used by its own methods.
"""

from daskimg.manifest._facts import Facts
from daskimg.manifest._labels import Label, encode_label
from daskimg.manifest._manifest import Cells, Manifest, declared_sizes, read_manifest
from daskimg.manifest._pictures import read_pictures
from daskimg.manifest._sealed import SEALED, unsealed
from daskimg.manifest._splits import Split, parse_split

__all__ = [
    "SEALED",
    "Cells",
    "Facts",
    "Label",
    "Manifest",
    "Split",
    "declared_sizes",
    "encode_label",
    "parse_split",
    "read_manifest",
    "read_pictures",
    "unsealed",
]
