"""Tables of pictures: sources, checks, keys, label encoding.

A table is read twice: ``Manifest.scan`` settles types, labels and keys for the whole of it,
then ``Manifest.pieces`` gives its rows, numbered. Neither holds more than a piece. Dask is
never imported: its frame is known by its class, and used by its own methods.
"""

from daskimg.manifest._facts import Facts
from daskimg.manifest._labels import Label, encode_label
from daskimg.manifest._manifest import Manifest, read_manifest
from daskimg.manifest._pictures import read_pictures

__all__ = ["Facts", "Label", "Manifest", "encode_label", "read_manifest", "read_pictures"]
