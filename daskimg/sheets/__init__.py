"""Samples as pictures for people: scaled, with masks, joints and heatmaps, on one sheet."""

from daskimg.sheets._drawn import Drawing, Size, drawn, fitted, hues, joined, mask_colours, rgb_of
from daskimg.sheets._sheet import Pictured, Sheet, png_path

__all__ = [
    "Drawing",
    "Pictured",
    "Sheet",
    "Size",
    "drawn",
    "fitted",
    "hues",
    "joined",
    "mask_colours",
    "png_path",
    "rgb_of",
]
