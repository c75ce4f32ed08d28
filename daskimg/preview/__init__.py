"""Rows of a table, looked at: what each step of recipes makes of them. Writes no store."""

from daskimg.preview._comparison import Comparison, Outcome, preview_rows
from daskimg.preview._preview import Preview, preview_row
from daskimg.preview._views import PreviewSample, PreviewStage
from daskimg.sheets import png_path

__all__ = [
    "Comparison",
    "Outcome",
    "Preview",
    "PreviewSample",
    "PreviewStage",
    "png_path",
    "preview_row",
    "preview_rows",
]
