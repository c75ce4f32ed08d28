"""Steps from sample to samples: each says what it returns before it is run.

A transform is a frozen dataclass (pickled to every worker, written to TOML, part of the
store's fingerprint) with two methods::

    resolve(spec) -> list[Spec]        what it makes of a spec, without pixels
    __call__(sample) -> list[Sample]   the same number of samples

One element for a map, several for tiles or flips, none for a filter. It may have more:

``least(height, width) -> (height, width)``
    The fewest pixels of a source of that size it can use. A JPEG is then decoded at a reduced
    scale, if the transform is the first of its recipe; it must read its picture through
    ``Picture.resized`` only.
``carries = frozenset({"mask", "points"})``
    The kinds of target it moves along. A recipe in which a target meets a transform without a
    rule for its kind is refused before it runs.
``by_size = True``
    The number of samples depends on the picture's height, width or mode. ``resolve`` is then
    asked twice: of a spec without them for one representative output, and, once the header
    has been read, of the real one for all outputs.
``by_mode = True``
    The same, and it does depend on the mode: columns of sizes in the table are not enough.
``columns``
    Names of the manifest's columns whose cells it finds in ``sample.cells``.

Geometry is an affine: ``sample.affine`` maps a point (x, y) of the source, after EXIF
orientation, to the output. Coordinates are continuous: pixel ``i`` covers ``[i, i + 1)``.
``daskimg.check_transform`` holds a transform against all of this in its author's tests.
"""

from daskimg.transforms._affine import IDENTITY, apply_affine, compose
from daskimg.transforms._branches import Choose, Concatenate, nested_steps
from daskimg.transforms._colours import Autocontrast, Equalize, Grayscale, PhotometricJitter
from daskimg.transforms._crops import RandomCrop
from daskimg.transforms._filters import GREY_MODES, MinSize, Modes
from daskimg.transforms._heatmap import Heatmaps
from daskimg.transforms._noise import NoiseFit, NoiseFrames
from daskimg.transforms._people import MPII_JOINTS, MPII_PAIRS, PersonCrop
from daskimg.transforms._placed import CenterCrop, Fit, Placement, Resize
from daskimg.transforms._protocol import (
    Sample,
    Spec,
    Target,
    TargetKind,
    TargetSpec,
    Transform,
    resolve_chain,
    resolved,
)
from daskimg.transforms._streams import STREAMS
from daskimg.transforms._tiles import Tiles
from daskimg.transforms._turns import Flip, Mirror, RandomMirror, Rotate, SquareCrop

__all__ = [
    "GREY_MODES",
    "IDENTITY",
    "MPII_JOINTS",
    "MPII_PAIRS",
    "STREAMS",
    "Autocontrast",
    "CenterCrop",
    "Choose",
    "Concatenate",
    "Equalize",
    "Fit",
    "Flip",
    "Grayscale",
    "Heatmaps",
    "MinSize",
    "Mirror",
    "Modes",
    "NoiseFit",
    "NoiseFrames",
    "PersonCrop",
    "PhotometricJitter",
    "Placement",
    "RandomCrop",
    "RandomMirror",
    "Resize",
    "Rotate",
    "Sample",
    "Spec",
    "SquareCrop",
    "Target",
    "TargetKind",
    "TargetSpec",
    "Tiles",
    "Transform",
    "apply_affine",
    "compose",
    "nested_steps",
    "resolve_chain",
    "resolved",
]
