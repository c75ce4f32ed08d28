"""The only door to Pillow and simplejpeg: a file's bytes become a picture, or a reason why not.

Decoding is safe in threads and runs in parallel: both let go of the interpreter's lock.
Nothing here looks at a file's name. Of several frames or pages the first is taken.
"""

from daskimg.decode._beginnings import read_beginning
from daskimg.decode._drawing import (
    Panel,
    Strip,
    contact_sheet,
    draw_outlines,
    draw_points,
    scaled_down,
)
from daskimg.decode._encoding import encode_jpeg, encode_png, encode_thumbnail
from daskimg.decode._masks import decode_mask
from daskimg.decode._operations import autocontrast, enhance, equalize, grey
from daskimg.decode._picture import Picture
from daskimg.decode._sources import Source, decode, decoder_versions, read_header
from daskimg.decode._windows import Windows, decode_by_windows, open_windows

__all__ = [
    "Panel",
    "Picture",
    "Source",
    "Strip",
    "Windows",
    "autocontrast",
    "contact_sheet",
    "decode",
    "decode_by_windows",
    "decode_mask",
    "decoder_versions",
    "draw_outlines",
    "draw_points",
    "encode_jpeg",
    "encode_png",
    "encode_thumbnail",
    "enhance",
    "equalize",
    "grey",
    "open_windows",
    "read_beginning",
    "read_header",
    "scaled_down",
]
