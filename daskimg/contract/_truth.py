"""What a transform says of its output, held against what it gives, more than once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.contract._demand import demand
from daskimg.transforms import resolve_chain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.contract._trials import Trial
    from daskimg.transforms import Sample, Spec, TargetSpec


def check_truth(name: str, trial: Trial, made: list[Sample]) -> None:
    """Compare what is made of a trial's sample with ``resolve``."""
    specs = resolve_chain((trial.step,), trial.spec)
    height, width = trial.size
    of = f"of a {height} x {width} picture of {trial.spec.channels} x {trial.spec.dtype}"
    demand(
        len(made) == len(specs),
        f"{name} gives {len(made)} samples {of}, and its resolve says {len(specs)}",
    )
    demand(
        len({id(sample) for sample in made}) == len(made),
        f"{name} gives one Sample twice: use dataclasses.replace, as each gets its own part",
    )
    given = trial.sample()
    for sample, spec in zip(made, specs, strict=True):
        _check_shape(name, sample, spec, of)
        same = (sample.seed, sample.row, sample.mode) == (given.seed, given.row, given.mode)
        demand(same, f"{name} changes seed, row or mode: use dataclasses.replace")


def _check_shape(name: str, sample: Sample, spec: Spec, of: str) -> None:
    image = sample.image
    gives = image.height, image.width, image.channels
    says = spec.height, spec.width, spec.channels
    demand(gives == says, f"{name} gives (height, width, channel) {gives} {of}, and says {says}")
    demand(image.dtype == spec.dtype, f"{name} gives {image.dtype} {of}, and says {spec.dtype}")
    array = image.array()
    demand(array.shape == says, f"{name} gives an image of {array.shape}, and says {says}")
    promised = {target.name: target for target in spec.targets}
    demand(
        sample.targets.keys() == promised.keys(),
        f"{name} gives targets {sorted(sample.targets)}, and says {sorted(promised)}",
    )
    for key, target in sample.targets.items():
        found = target.array.shape, target.array.dtype.name
        wanted = promised[key].shape, promised[key].dtype
        demand(found == wanted, f"{name} gives {key} of {found}, and says {wanted}")


def check_representatives(name: str, trials: list[Trial]) -> None:
    """Compare what is said of a size before it is known with what is said afterwards."""
    by_size = getattr(trials[0].step, "by_size", False)
    for trial in trials:
        unknown = replace(
            trial.spec, height=None, width=None, mode=None, targets=_unsized(trial.spec)
        )
        before = resolve_chain((trial.step,), unknown)
        after = resolve_chain((trial.step,), trial.spec)
        demand(
            by_size or len(before) == len(after),
            f"{name} gives {len(after)} samples of {trial.size} and says {len(before)} before "
            "the size is known; say by_size = True",
        )
        for early, late in zip(before, after, strict=False):
            demand(
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


def check_purity(name: str, trial: Trial, made: list[Sample]) -> None:
    """Demand that a step leaves its input as it is, and makes the same of it once more."""
    before, given = trial.sample(), trial.sample()
    again = list(trial.step(given))
    demand(
        _same(before, given),
        f"{name} changes its input: make new arrays, and use dataclasses.replace",
    )
    demand(
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
