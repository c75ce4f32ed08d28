"""A test for users' own transforms: whether they keep what every transform promises.

Not used by a build. It is meant to be called in the tests of whoever writes a transform::

    def test_my_transform_keeps_the_contract():
        daskimg.check_transform(MyTransform(strength=3))
"""

from __future__ import annotations

import pickle
import tomllib
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import DaskimgError, OptionError, PlanError, SampleError
from daskimg.recipe import Recipe
from daskimg.transforms import (
    Sample,
    Spec,
    Target,
    TargetSpec,
    Transform,
    apply_affine,
    compose,
    resolve_chain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from daskimg.options import DType
    from daskimg.transforms import TargetKind

_PARAMETERS = "__dataclass_params__"  # where dataclasses keeps what a class was declared with
_JOINTS = 32  # more than pairs of left and right are likely to number
_NEAR = 0.55  # of a source pixel: the nearest one holds the point, or lies beside it by rounding
_EARLIER = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])  # as if a step had stood before
_WHITES: dict[DType, int] = {"uint8": 255, "uint16": 65535, "float32": 1}
_MARKABLE = 16  # pixels of a side below which no mark is put on a picture
_SEEN = 2  # pixels that a mark must have in the output
_CLOSE = 1e-3  # pixels by which float32 points may be off


def check_transform(
    transform: Any, *, picture: NDArray[Any] | None = None, cells: Mapping[str, Any] | None = None
) -> None:
    """Check that a transform keeps the contract of ``daskimg.transforms``.

    It is tried on made-up pictures of several sizes, in grey and in colour, of each dtype, with
    the targets that it carries; what its ``resolve`` refuses is left out. Checked are: that it
    is a frozen dataclass, pickles, and goes to TOML and back; that ``resolve`` tells the truth
    of number, size, channels, dtype and targets, before and after sizes are known; that the
    same sample always gives the same result; that its input is not changed; and that picture,
    masks, points and joints are moved as ``affine`` says, on top of the steps before.

    Parameters
    ----------
    transform
        The transform, made.
    picture
        (height, width, channel) array to try it on as well.
    cells
        The row's cells, if it reads columns.

    Raises
    ------
    AssertionError
        Saying which promise it breaks, and how.
    """
    _check_plain(transform)
    name = type(transform).__name__
    trials = list(_trials(transform, picture, cells or {}))
    checked = [trial for trial in trials if _check_trial(name, trial)]
    _demand(checked, f"{name} refuses every picture: see what its resolve raises")
    _check_representatives(name, trials)


def _check_trial(name: str, trial: _Trial) -> bool:
    """Tell whether a transform makes anything of a sample, after checking what."""
    try:
        made = list(trial.step(trial.sample()))
    except SampleError:  # a row at fault, as a person outside the picture
        return False
    _check_truth(name, trial, made)
    _check_purity(name, trial, made)
    for sample in made:
        _check_targets(name, trial, sample)
    _check_picture(name, trial)
    _check_reduced(name, trial)
    return True


def _demand(truth: object, sentence: str) -> None:
    """Raise ``AssertionError``, also where Python runs without assertions."""
    if not truth:
        raise AssertionError(sentence)


# What it is


def _check_plain(transform: Any) -> None:
    kind = transform if isinstance(transform, type) else type(transform)
    name = kind.__name__
    _demand(kind is not transform, f"{name} is a class: give an instance, as {name}(...)")
    _demand(
        isinstance(transform, Transform),
        f"{name} is not a transform: it needs resolve(spec) and __call__(sample)",
    )
    frozen = is_dataclass(transform) and getattr(transform, _PARAMETERS).frozen
    _demand(frozen, f"{name} must be a frozen dataclass: @dataclass(frozen=True)")
    _check_travels(name, transform)
    _check_toml(name, transform)


def _check_travels(name: str, transform: Any) -> None:
    try:
        arrived = pickle.loads(pickle.dumps(transform))
        hash(transform)
    except Exception as error:
        raise AssertionError(
            f"{name} must be picklable and hashable, to reach the workers: {error}"
        ) from error
    _demand(arrived == transform, f"{name} is another one after pickling: {arrived!r}")


def _check_toml(name: str, transform: Any) -> None:
    recipe = Recipe((transform,))
    try:
        read = Recipe.from_dict(tomllib.loads(recipe.to_toml()))
    except Exception as error:
        raise AssertionError(
            f"{name} does not go to TOML and back: {error}; its fields must be numbers, text, "
            "or lists of them, and its class must be in a module"
        ) from error
    _demand(
        read == recipe,
        f"{name} is another one after TOML: {read.transforms[0]!r}, was {transform!r}; its "
        "__post_init__ must take what it has made, and turn lists into tuples",
    )


# What it is tried on


@dataclass(frozen=True)
class _Trial:
    """A transform, a spec that it accepts, and what makes samples of that spec."""

    step: Any
    spec: Spec
    seed: int
    picture: NDArray[Any] | None
    cells: Mapping[str, Any]

    def sample(self, image: NDArray[Any] | None = None) -> Sample:
        """Return a new sample, sharing nothing with others."""
        array = self.image() if image is None else image
        targets = {target.name: self._target(target) for target in self.spec.targets}
        return Sample(
            Picture.from_array(array),
            affine=_EARLIER.copy(),
            targets=targets,
            seed=self.seed,
            row=3,
            part=2,
            cells=self.cells,
            mode=self.spec.mode or "",
        )

    def image(self) -> NDArray[Any]:
        """Return the picture: the user's, or a smooth one of middling levels."""
        if self.picture is not None:
            return self.picture.copy()
        height, width = self.size
        y, x = np.mgrid[:height, :width]
        grey = 96 + 60 * x // width + 40 * y // height
        levels = np.stack([grey + 3 * i for i in range(self.spec.channels)], 2)
        scaled: NDArray[Any] = levels * (_WHITES[self.spec.dtype] / 255)
        return scaled.astype(self.spec.dtype)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.spec.height or 0, self.spec.width or 0

    def points(self) -> NDArray[np.float32]:
        """Return points all over the picture, (joint, xy)."""
        height, width = self.size
        count = np.arange(_JOINTS)
        across, down = count * 0.618034 % 1, count * 0.754878 % 1
        return np.stack([across * width, down * height], 1).astype(np.float32)

    def _target(self, target: TargetSpec) -> Target:
        if target.kind == "mask":
            y, x = np.mgrid[: target.shape[0], : target.shape[1]]
            return Target("mask", np.stack([x + 1, y + 1], 2).astype(np.uint16))
        if target.kind == "points":
            return Target("points", self.points())
        return Target(target.kind, np.arange(1, _JOINTS + 1, dtype=np.uint8))


def _trials(
    step: Transform, picture: NDArray[Any] | None, cells: Mapping[str, Any]
) -> Iterator[_Trial]:
    """Yield what the transform accepts: each size once in colour, and one in each other way."""
    given = None if picture is None else np.atleast_3d(picture)
    if given is not None:
        height, width, channels = given.shape
        kind = cast("DType", Picture.from_array(given).dtype)
        spec = Spec(height, width, channels, kind, mode="RGB")
        yield from _accepted(step, spec, 0, given, cells)
    sizes = _sizes(step)
    for seed, size in enumerate(sizes):
        yield from _accepted(step, Spec(*size, 3, "uint8", mode="RGB"), seed, None, cells)
    ways: list[tuple[int, DType, str]] = [
        (1, "uint8", "L"),
        (3, "uint8", "L"),
        (3, "uint16", "RGB"),
        (3, "float32", "RGB"),
        (1, "uint16", "I;16"),
    ]
    for channels, dtype, mode in ways:
        yield from _accepted(step, Spec(*sizes[0], channels, dtype, mode=mode), 0, None, cells)


def _sizes(step: Transform) -> list[tuple[int, int]]:
    """Return sizes below, at and above that of the output."""
    height, width = 24, 32
    for channels in (3, 1):
        try:
            for spec in resolve_chain((step,), Spec(None, None, channels, "uint8")):
                height, width = spec.height or height, spec.width or width
        except DaskimgError:
            continue
    return [
        (2 * height + 5, 3 * width + 1),
        (height, width),
        (height, 2 * width),
        (height + 3, max(1, width - 1)),
        (max(1, height // 2), 2 * width + 1),
        (7, 5),
        (1, 1),
    ]


def _accepted(
    step: Transform,
    spec: Spec,
    seed: int,
    picture: NDArray[Any] | None,
    cells: Mapping[str, Any],
) -> Iterator[_Trial]:
    """Yield a trial with as many targets as the transform takes, or none if it takes no such."""
    carried: frozenset[TargetKind] = getattr(step, "carries", frozenset())
    targets = [target for target in _targets(spec) if target.kind in {*carried, "values"}]
    without_joints = [t for t in targets if t.kind in ("mask", "values")]
    for wanted in (targets, without_joints):
        full = replace(spec, targets=tuple(wanted))
        try:
            resolve_chain((step,), full)
        except (OptionError, PlanError):
            continue
        yield _Trial(step, full, seed, picture, cells)
        return


def _targets(spec: Spec) -> list[TargetSpec]:
    size = spec.height or 0, spec.width or 0
    axes = ("mask_height", "mask_width", "mask_channel")
    return [
        TargetSpec("mask", "mask", axes, (*size, 2), "uint16"),
        TargetSpec("keypoint", "points", ("joint", "xy"), (_JOINTS, 2), "float32"),
        TargetSpec("visible", "joints", ("joint",), (_JOINTS,), "uint8"),
        TargetSpec("other", "values", ("joint",), (_JOINTS,), "uint8"),
    ]


# What it says of its output


def _check_truth(name: str, trial: _Trial, made: list[Sample]) -> None:
    """Compare what is made of a trial's sample with ``resolve``."""
    specs = resolve_chain((trial.step,), trial.spec)
    height, width = trial.size
    of = f"of a {height} x {width} picture of {trial.spec.channels} x {trial.spec.dtype}"
    _demand(
        len(made) == len(specs),
        f"{name} gives {len(made)} samples {of}, and its resolve says {len(specs)}",
    )
    _demand(
        len({id(sample) for sample in made}) == len(made),
        f"{name} gives one Sample twice: use dataclasses.replace, as each gets its own part",
    )
    given = trial.sample()
    for sample, spec in zip(made, specs, strict=True):
        _check_shape(name, sample, spec, of)
        same = (sample.seed, sample.row, sample.mode) == (given.seed, given.row, given.mode)
        _demand(same, f"{name} changes seed, row or mode: use dataclasses.replace")


def _check_shape(name: str, sample: Sample, spec: Spec, of: str) -> None:
    image = sample.image
    gives = image.height, image.width, image.channels
    says = spec.height, spec.width, spec.channels
    _demand(gives == says, f"{name} gives (height, width, channel) {gives} {of}, and says {says}")
    _demand(image.dtype == spec.dtype, f"{name} gives {image.dtype} {of}, and says {spec.dtype}")
    array = image.array()
    _demand(array.shape == says, f"{name} gives an image of {array.shape}, and says {says}")
    promised = {target.name: target for target in spec.targets}
    _demand(
        sample.targets.keys() == promised.keys(),
        f"{name} gives targets {sorted(sample.targets)}, and says {sorted(promised)}",
    )
    for key, target in sample.targets.items():
        found = target.array.shape, target.array.dtype.name
        wanted = promised[key].shape, promised[key].dtype
        _demand(found == wanted, f"{name} gives {key} of {found}, and says {wanted}")


def _check_representatives(name: str, trials: list[_Trial]) -> None:
    """Compare what is said of a size before it is known with what is said afterwards."""
    by_size = getattr(trials[0].step, "by_size", False)
    for trial in trials:
        unknown = replace(
            trial.spec, height=None, width=None, mode=None, targets=_unsized(trial.spec)
        )
        before = resolve_chain((trial.step,), unknown)
        after = resolve_chain((trial.step,), trial.spec)
        _demand(
            by_size or len(before) == len(after),
            f"{name} gives {len(after)} samples of {trial.size} and says {len(before)} before "
            "the size is known; say by_size = True",
        )
        for early, late in zip(before, after, strict=False):
            _demand(
                _agree(early, late),
                f"{name} says {early} before a picture's size is known, and then {late}",
            )


def _unsized(spec: Spec) -> tuple[TargetSpec, ...]:
    return tuple(
        replace(target, shape=(0, 0, *target.shape[2:])) if target.kind == "mask" else target
        for target in spec.targets
    )


def _agree(early: Spec, late: Spec) -> bool:
    known = (early.height in (None, late.height), early.width in (None, late.width))
    rest = (early.channels, early.dtype) == (late.channels, late.dtype)
    names = [target.name for target in early.targets] == [target.name for target in late.targets]
    return all(known) and rest and names


# What it does


def _check_purity(name: str, trial: _Trial, made: list[Sample]) -> None:
    before, given = trial.sample(), trial.sample()
    again = list(trial.step(given))
    _demand(
        _same(before, given),
        f"{name} changes its input: make new arrays, and use dataclasses.replace",
    )
    _demand(
        len(made) == len(again) and all(map(_same, made, again)),
        f"{name} gives another result the second time: draw from sample.rng(stream) only",
    )


def _same(one: Sample, other: Sample) -> bool:
    return (
        (one.seed, one.row, one.mode) == (other.seed, other.row, other.mode)
        and np.array_equal(one.image.array(), other.image.array())
        and np.array_equal(one.affine, other.affine)
        and one.targets.keys() == other.targets.keys()
        and all(_equal(one.targets[key].array, other.targets[key].array) for key in one.targets)
    )


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _own_affine(made: Sample) -> NDArray[np.float64]:
    """Return what the step itself did: its sample came with ``_EARLIER``."""
    return compose(made.affine, np.linalg.inv(np.vstack([_EARLIER, [0, 0, 1]]))[:2])


def _check_targets(name: str, trial: _Trial, made: Sample) -> None:
    """Compare where masks, points and joints went with what the affine says."""
    given, own = trial.sample(), _own_affine(made)
    for key, target in made.targets.items():
        if target.kind == "mask" and key in given.targets:
            _check_mask(name, own, target.array)
        if target.kind == "values" and key in given.targets:
            _demand(
                np.array_equal(target.array, given.targets[key].array),
                f"{name} changes a target of kind values, which is to be left as it is",
            )
    if "keypoint" in given.targets:
        _check_points(name, apply_affine(own, trial.points().astype(np.float64)), made)


def _check_mask(name: str, own: NDArray[np.float64], array: NDArray[Any]) -> None:
    """Hold each pixel of a mask of coordinates against the place it came from."""
    mask = array.astype(np.float64)
    down, across = np.nonzero(mask.all(axis=2))
    here = np.stack([across, down], 1) + 0.5
    source = (here - own[:, 2]) @ np.linalg.inv(own[:, :2]).T
    off = np.abs(source - (mask[down, across] - 0.5)).max(initial=0)
    _demand(
        off <= _NEAR,
        f"{name} has a mask {off:.2f} source pixels off what its affine says: move masks as "
        "the picture, by the nearest pixel, and compose(step, sample.affine)",
    )


def _check_points(name: str, wanted: NDArray[np.float64], made: Sample) -> None:
    points = made.targets["keypoint"].array.astype(np.float64)
    reason = "does not map points as its affine says"
    if "visible" in made.targets:
        # Each joint's value is its number, so that one sees which ones changed places.
        numbers = made.targets["visible"].array.astype(int)
        seen = (numbers > 0) & (numbers <= _JOINTS)
        points, wanted = points[seen], wanted[numbers[seen] - 1]
        reason += ", or swaps joints otherwise than their points"
    else:
        points, wanted = points[np.lexsort(points.T)], wanted[np.lexsort(wanted.T)]
    _demand(np.allclose(points, wanted, rtol=1e-5, atol=_CLOSE), f"{name} {reason}")


def _check_picture(name: str, trial: _Trial) -> None:
    """Put a mark on the picture, and look for it where the affine says."""
    if trial.picture is not None or min(trial.size) < _MARKABLE:
        return
    top, left = (side * 3 // 8 for side in trial.size)
    tall, wide = (side // 4 for side in trial.size)
    plain, marked = trial.image(), trial.image()
    white = _WHITES[trial.spec.dtype]
    plain[top : top + tall, left : left + wide] = white * 0.4
    marked[top : top + tall, left : left + wide] = white
    corners = np.array([[left, top], [left + wide, top + tall]], np.float64)
    for without, made in zip(
        trial.step(trial.sample(plain)), trial.step(trial.sample(marked)), strict=True
    ):
        own = _own_affine(made)
        if np.array_equal(without.affine, made.affine):
            change = made.image.array().astype(np.float64) - without.image.array()
            _check_mark(name, np.abs(change).sum(axis=2), apply_affine(own, corners))


def _check_mark(name: str, change: NDArray[np.float64], corners: NDArray[np.float64]) -> None:
    """Hold the middle of what changed against the middle of the mark; corners are (x, y)."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    inside = (low >= 0).all() and (high <= change.shape[::-1]).all()
    if not inside or (high - low < _SEEN).any() or not change.any():
        return
    down, across = np.nonzero(change > change.max() / 2)
    found = np.array([across.mean() + 0.5, down.mean() + 0.5])
    off = np.abs(found - (low + high) / 2).max()
    _demand(
        off <= max(0.7, 0.05 * (high - low).max()),
        f"{name} moves the picture {off:.2f} pixels away from what its affine says: a point "
        "(x, y) of the sample goes to step @ (x, y, 1), and compose(step, sample.affine)",
    )


def _check_reduced(name: str, trial: _Trial) -> None:
    """Have a transform with ``least`` read a picture that was decoded at half its size."""
    least = getattr(trial.step, "least", None)
    if least is None or trial.spec.dtype != "uint8" or trial.picture is not None:
        return
    height, width = trial.size
    needed = least(height, width)
    if 2 * needed[0] > height or 2 * needed[1] > width:
        return
    half = np.ascontiguousarray(trial.image()[::2, ::2])
    sample = trial.sample()
    sample.image = Picture(half, trial.spec.channels, (height, width), 2)
    try:
        made = list(trial.step(sample))
        shapes = [one.image.array().shape for one in made]
    except ValueError as error:
        raise AssertionError(
            f"{name} has least, so it must read its picture by Picture.resized alone: {error}"
        ) from error
    wanted = [(s.height, s.width, s.channels) for s in resolve_chain((trial.step,), trial.spec)]
    _demand(shapes == wanted, f"{name} gives {shapes} of a reduced picture, and says {wanted}")
