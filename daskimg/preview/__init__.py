"""One row of a table, looked at: what each step of a recipe makes of it. Writes nothing."""

from daskimg.preview._preview import Preview, png_path, preview_row
from daskimg.preview._views import PreviewSample, PreviewStage

__all__ = ["Preview", "PreviewSample", "PreviewStage", "png_path", "preview_row"]
