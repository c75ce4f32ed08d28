"""Samples in the forms that others read: pictures in class folders, records, tars, tables.

Functions of a reader: what is exported is what it reads, in its order, without what failed.
The same samples give the same bytes; an export that was stopped goes on with its next shard.
"""

from daskimg.export._export import Export, export_samples
from daskimg.export._options import FORMATS, LAYOUTS, ExportOptions, Format

__all__ = ["FORMATS", "LAYOUTS", "Export", "ExportOptions", "Format", "export_samples"]
