"""Several ways on from one picture: decoded once, changed once as far as the ways agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from daskimg.cells import numbers
from daskimg.errors import OptionError, SampleError
from daskimg.transforms._moves import ALL_KINDS
from daskimg.transforms._protocol import Transform, resolve_chain
from daskimg.transforms._streams import part_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.transforms._protocol import Sample, Spec, TargetKind


class _Branched:
    """What transforms with branches are, by what their branches are."""

    __slots__ = ()
    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS  # each branch is asked by resolve

    branches: tuple[tuple[Transform, ...], ...]

    def __post_init__(self) -> None:
        """Refuse no branches, and what is no transform."""
        object.__setattr__(self, "branches", _checked(self.branches))

    @property
    def by_size(self) -> bool:
        """Whether the number of samples depends on the picture's size or mode."""
        return any(getattr(step, "by_size", False) for step in self._steps())

    @property
    def by_mode(self) -> bool:
        """Whether it depends on the mode."""
        return any(getattr(step, "by_mode", False) for step in self._steps())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the manifest's columns that the branches read."""
        return tuple(dict.fromkeys(self._columns()))

    def _columns(self) -> Iterator[str]:
        return (name for step in self._steps() for name in getattr(step, "columns", ()))

    def _steps(self) -> Iterator[Transform]:
        return (step for branch in self.branches for step in branch)


@dataclass(frozen=True, slots=True)
class Concatenate(_Branched):
    """Give the samples of the first branch, then those of the second, and so on.

    ``Concatenate(((), (Mirror(),)))`` gives each picture and its mirrored copy, next to each
    other. What stands before it in the recipe is done once. Branches draw different random
    numbers, so two equal random branches give two different samples.

    Attributes
    ----------
    branches
        A tuple of transforms each; an empty one leaves the sample as it is.
    """

    branches: tuple[tuple[Transform, ...], ...]

    def least(self, height: int, width: int) -> tuple[int, int]:
        """Return the fewest pixels of a source that suffice for every branch."""
        firsts = [
            getattr(branch[0], "least", None) if branch else None for branch in self.branches
        ]
        sizes = [least(height, width) if least else (height, width) for least in firsts]
        return max(size[0] for size in sizes), max(size[1] for size in sizes)

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the specs of all branches, in order."""
        return [made for branch in self.branches for made in resolve_chain(branch, spec)]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the samples of all branches, in order."""
        made: list[Sample] = []
        for i, branch in enumerate(self.branches, start=1):
            own = replace(sample, part=part_within(sample.part, i), targets=dict(sample.targets))
            try:
                made += _through(branch, own)
            except Exception as error:
                error.add_note(f"in branch {i} of {len(self.branches)}")
                raise
        return made


@dataclass(frozen=True, slots=True)
class Choose(_Branched):
    """Send each sample down one branch: that of the number in a column of its row.

    With a table that holds every row twice, ``copy`` 0 and then 1, ``Choose("copy", ((),
    (Mirror(),)))`` gives all pictures and behind them all mirrored copies. ``Concatenate``
    gives them next to each other, and decodes each picture once.

    Attributes
    ----------
    column
        Of whole numbers, from 0.
    branches
        A tuple of transforms each; all must give as many samples of the same kind.
    """

    column: str
    branches: tuple[tuple[Transform, ...], ...]

    def _columns(self) -> Iterator[str]:
        yield self.column
        yield from _Branched._columns(self)

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return what every branch gives."""
        found = [resolve_chain(branch, spec) for branch in self.branches]
        for number, made in enumerate(found):
            if made != found[0]:
                raise OptionError(
                    f"branch {number} of choose gives {made}, and branch 0 {found[0]}; all must "
                    f"give the same"
                )
        return found[0]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the samples of the row's branch.

        Raises
        ------
        SampleError
            If the row's cell is no branch's number.
        """
        number = float(numbers(sample.cells, self.column))
        if number not in range(len(self.branches)):
            raise SampleError(
                "target", f"{self.column} must be 0 to {len(self.branches) - 1}, got {number:g}"
            )
        return _through(self.branches[int(number)], sample)


def _checked(given: object) -> tuple[tuple[Transform, ...], ...]:
    """Return branches as tuples of transforms, or refuse what they are not."""
    if not isinstance(given, list | tuple) or not given:
        raise OptionError(f"branches must be lists of transforms, got {given!r}; try [[], []]")
    for branch in given:
        if not isinstance(branch, list | tuple):
            raise OptionError(f"a branch is a list of transforms, got {branch!r}; try [[], []]")
        for step in branch:
            if isinstance(step, type) or not isinstance(step, Transform):
                raise OptionError(
                    f"{step!r} in a branch is not a transform: it needs resolve(spec) and "
                    "__call__(sample)"
                )
    return tuple(tuple(branch) for branch in given)


def _through(branch: tuple[Transform, ...], start: Sample) -> list[Sample]:
    samples = [start]
    for number, step in enumerate(branch, start=1):
        try:
            made = [one for sample in samples for one in step(sample)]
        except Exception as error:
            error.add_note(f"in {type(step).__name__}, step {number} of {len(branch)}")
            raise
        # Numbered for the random steps that follow; the recipe numbers them for good.
        samples = [replace(one, part=part_within(start.part, i)) for i, one in enumerate(made)]
    return samples


def nested_steps(transforms: Iterable[Transform]) -> Iterator[Transform]:
    """Yield each transform, and behind it those in its branches, at any depth."""
    for step in transforms:
        yield step
        for branch in getattr(step, "branches", ()):
            yield from nested_steps(branch)
