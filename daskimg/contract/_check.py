"""All checks of one transform, in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from daskimg.contract._demand import demand
from daskimg.contract._geometry import check_picture, check_reduced, check_targets
from daskimg.contract._nature import check_nature, check_resolve
from daskimg.contract._trials import make_trials
from daskimg.contract._truth import check_purity, check_representatives, check_truth
from daskimg.errors import SampleError
from daskimg.options import given
from daskimg.transforms import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from daskimg.contract._trials import Trial


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
    check_nature(transform)
    name = type(transform).__name__
    check_resolve(transform)
    trials = list(make_trials(transform, picture, cells or {}))
    checked = [trial for trial in trials if _check_trial(name, trial)]
    demand(checked, f"{name} refuses every picture: see what its resolve raises")
    check_representatives(name, trials)


def _check_trial(name: str, trial: Trial) -> bool:
    """Tell whether a transform makes anything of a sample, after checking what."""
    try:
        made = trial.step(trial.sample())
    except SampleError:  # a row at fault, as a person outside the picture
        return False
    demand(
        isinstance(made, Iterable) and not isinstance(made, Sample),
        f"{name}(sample) must return a list of samples, got {given(made)}; write return [sample]",
    )
    made = list(made)
    check_truth(name, trial, made)
    check_purity(name, trial, made)
    for sample in made:
        check_targets(name, trial, sample)
    check_picture(name, trial)
    check_reduced(name, trial)
    return True
