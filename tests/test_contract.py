from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import scenes

from daskimg.contract import check_transform
from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.heatmaps import draw_heatmaps
from daskimg.recipe import NAMED
from daskimg.transforms import (
    Autocontrast,
    CenterCrop,
    Choose,
    Concatenate,
    Equalize,
    Fit,
    Flip,
    Grayscale,
    Heatmaps,
    MinSize,
    Mirror,
    Modes,
    NoiseFit,
    NoiseFrames,
    PersonCrop,
    PhotometricJitter,
    RandomCrop,
    RandomMirror,
    Resize,
    Rotate,
    Sample,
    SquareCrop,
    Target,
    Tiles,
    apply_affine,
    compose,
)

SHIPPED = [
    Resize(20, 30),
    CenterCrop(20, 30),
    Fit(20, 30, enlarge=False),
    Tiles(16, 20),
    Tiles(16, 20, (5, 7), "pad"),
    Tiles(16, 20, 30, "shift"),
    NoiseFrames(16, 20),
    NoiseFit(20, 30),
    MinSize(10, 40),
    Modes(),
    Grayscale(1),
    Grayscale(3),
    Autocontrast(2),
    Equalize(),
    PhotometricJitter(),
    SquareCrop(),
    Mirror(),
    Mirror(((0, 1), (2, 31))),
    Flip(((3, 4),)),
    Rotate(1),
    Rotate(2),
    Rotate(-1),
    RandomMirror(0.5, ((0, 1),)),
    RandomCrop(20, 30),
    PersonCrop(32, 32, region="joints"),
    Heatmaps(8, 8),
    Concatenate(((), (Mirror(((0, 1),)),))),
    Concatenate(((Tiles(8, 9), RandomMirror(0.5, ((0, 1),))), (Resize(8, 9),))),
]


@pytest.mark.parametrize("transform", SHIPPED, ids=repr)
def test_every_shipped_transform_keeps_the_contract(transform, monkeypatch):
    in_numpy = partial(draw_heatmaps, compiled=False)  # as quick as it gets for a few
    monkeypatch.setattr("daskimg.transforms._heatmap.draw_heatmaps", in_numpy)

    check_transform(transform)


def test_all_that_is_shipped_is_checked():
    assert {type(transform) for transform in SHIPPED} | {Choose} == set(NAMED.values())


def test_a_real_picture_may_be_given():
    check_transform(Tiles(16, 16), picture=np.asarray(scenes.picture(4)))


def test_cells_may_be_given():
    check_transform(PersonCrop(32, 32), cells={"center": [20, 20], "scale": 0.1})
    for copy in (0, 1):
        branches = ((), (Mirror(((0, 1),)),))
        check_transform(Choose("copy", branches), cells={"copy": copy})


@dataclass(frozen=True)
class Honest:
    """Leaves the sample as it is; what follows is broken in one way each."""

    carries = frozenset({"mask", "points", "joints"})

    def resolve(self, spec):
        return [spec]

    def __call__(self, sample):
        return [replace(sample)]


def mirrored(sample, affine, points=None, mask=None):
    """A mirrored sample by other means than the package's."""
    targets = dict(sample.targets)
    step = np.array([[-1.0, 0, sample.image.width], [0, 1, 0]])
    for name, target in sample.targets.items():
        if target.kind == "mask":
            targets[name] = target._replace(array=(mask or (lambda m: m[:, ::-1]))(target.array))
        if target.kind == "points":
            array = apply_affine(step if points is None else points, target.array)
            targets[name] = target._replace(array=array)
    image = Picture.from_array(sample.image.array()[:, ::-1])
    return [replace(sample, image=image, targets=targets, affine=affine(step, sample.affine))]


class Thawed:
    def resolve(self, spec):
        return [spec]

    def __call__(self, sample):
        return [sample]


@dataclass(frozen=True)
class Closure(Honest):
    call: object = field(default_factory=lambda: lambda: 0)


@dataclass(frozen=True)
class Growing(Honest):
    strength: float = 1.5

    def __post_init__(self):
        object.__setattr__(self, "strength", 2 * self.strength)


@dataclass(frozen=True)
class Untomled(Honest):
    picture: object = Picture

    def __hash__(self):
        return 0


class Refusing(Honest):
    def resolve(self, spec):
        raise OptionError("never")


class Doubled(Honest):
    def __call__(self, sample):
        return [replace(sample), replace(sample)]


class Same(Honest):
    def resolve(self, spec):
        return [spec, spec]

    def __call__(self, sample):
        return [sample, sample]


class Sized(Honest):
    def resolve(self, spec):
        return [replace(spec, height=9, width=9, targets=())]


class Floating(Honest):
    def __call__(self, sample):
        array = sample.image.array().astype(np.float32)
        return [replace(sample, image=Picture.from_array(array))]


class Halved(Honest):
    def __call__(self, sample):
        mask = sample.targets["mask"]._replace(array=np.zeros((1, 1, 2), np.uint16))
        return [replace(sample, targets={**sample.targets, "mask": mask})]


class Dropping(Honest):
    def __call__(self, sample):
        return [replace(sample, targets={})]


class Nameless(Honest):
    def __call__(self, sample):
        return [Sample(sample.image, sample.affine, sample.targets)]


class Filtering(Honest):
    def resolve(self, spec):
        return [spec] if spec.height is None or spec.height > 8 else []

    def __call__(self, sample):
        return [replace(sample)] if sample.image.height > 8 else []


class Wavering(Honest):
    def resolve(self, spec):
        return [replace(spec, height=64 if spec.height is None else spec.height)]


class Dicing(Honest):
    def __call__(self, sample):
        noise = np.random.default_rng().integers(200, size=sample.image.array().shape)
        return [replace(sample, image=Picture.from_array(noise.astype(sample.image.dtype)))]


class Writing(Honest):
    def __call__(self, sample):
        sample.targets["mask"].array[:] = 0
        return [replace(sample)]


class Relabelling(Honest):
    def __call__(self, sample):
        other = Target("values", sample.targets["other"].array + 1)
        return [replace(sample, targets={**sample.targets, "other": other})]


class AffineForgotten(Honest):
    def __call__(self, sample):
        return mirrored(sample, lambda step, before: step)


class OffByOne(Honest):
    carries = frozenset()

    def __call__(self, sample):
        return mirrored(
            sample, lambda step, before: compose(step - [[0, 0, 1], [0, 0, 0]], before)
        )


class MaskLeft(Honest):
    def __call__(self, sample):
        return mirrored(sample, compose, mask=lambda mask: mask)


class PointsLeft(Honest):
    def __call__(self, sample):
        return mirrored(sample, compose, points=np.eye(2, 3))


class JointsLeft(Honest):
    """Swaps the points of two joints, and not their values."""

    def __call__(self, sample):
        targets = dict(sample.targets)
        if "keypoint" in targets:
            order = [1, 0, *range(2, len(targets["keypoint"].array))]
            array = targets["keypoint"].array[order]
            targets["keypoint"] = targets["keypoint"]._replace(array=array)
        return [replace(sample, targets=targets)]


class PictureLeft(Honest):
    """Says that it mirrors, and moves all but the picture."""

    def __call__(self, sample):
        (made,) = mirrored(sample, compose)
        return [replace(made, image=sample.image)]


class Whole(Honest):
    def least(self, height, width):
        return 1, 1


LIARS = [
    (Thawed(), "must be a frozen dataclass"),
    (Closure(), "must be picklable"),
    (Growing(), "is another one after TOML"),
    (Untomled(), "does not go to TOML and back"),
    (Refusing(), "refuses every picture"),
    (Doubled(), "gives 2 samples .* its resolve says 1"),
    (Same(), "gives one Sample twice"),
    (Sized(), r"gives \(height, width, channel\) \(23, 28, 3\) .* says \(9, 9, 3\)"),
    (Floating(), "gives float32 .* says uint8"),
    (Halved(), r"gives mask of \(\(1, 1, 2\)"),
    (Dropping(), r"gives targets \[\]"),
    (Nameless(), "changes seed, row or mode"),
    (Filtering(), "say by_size = True"),
    (Wavering(), "before a picture's size is known, and then"),
    (Dicing(), r"draw from sample.rng\(stream\) only"),
    (Writing(), "changes its input"),
    (Relabelling(), "changes a target of kind values"),
    (AffineForgotten(), r"compose\(step, sample.affine\)"),
    (OffByOne(), "moves the picture 1.00 pixels away"),
    (MaskLeft(), "has a mask .* source pixels off"),
    (PointsLeft(), "does not map points as its affine says"),
    (JointsLeft(), "swaps joints otherwise than their points"),
    (PictureLeft(), "moves the picture .* pixels away"),
    (Whole(), r"must read its picture by Picture.resized alone"),
]


@pytest.mark.parametrize(
    ("transform", "message"),
    [pytest.param(*liar, id=type(liar[0]).__name__) for liar in LIARS],
)
def test_a_broken_promise_is_named(transform, message):
    with pytest.raises(AssertionError, match=f"^{type(transform).__name__} .*{message}"):
        check_transform(transform)


def test_the_honest_one_passes():
    check_transform(Honest())


def test_a_class_is_no_transform_yet():
    with pytest.raises(AssertionError, match=r"give an instance, as Resize\(...\)"):
        check_transform(Resize)
    with pytest.raises(AssertionError, match="needs resolve"):
        check_transform(len)
