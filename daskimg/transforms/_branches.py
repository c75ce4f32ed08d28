"""Several ways on from one picture: decoded once, changed once as far as the ways agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from daskimg.errors import OptionError
from daskimg.transforms._moves import ALL_KINDS
from daskimg.transforms._protocol import Transform, resolve_chain
from daskimg.transforms._streams import part_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.transforms._protocol import Sample, Spec, TargetKind


@dataclass(frozen=True, slots=True)
class Concatenate:
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

    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS  # each branch is asked by resolve

    def __post_init__(self) -> None:
        """Refuse no branches, and what is no transform."""
        given: object = self.branches
        if not isinstance(given, list | tuple) or not given:
            raise OptionError(f"branches must be lists of transforms, got {given!r}; try [[], []]")
        for branch in given:
            if not isinstance(branch, list | tuple):
                raise OptionError(
                    f"a branch is a list of transforms, got {branch!r}; try [[], []]"
                )
            for step in branch:
                if isinstance(step, type) or not isinstance(step, Transform):
                    raise OptionError(
                        f"{step!r} in a branch is not a transform: it needs resolve(spec) and "
                        "__call__(sample)"
                    )
        object.__setattr__(self, "branches", tuple(tuple(branch) for branch in given))

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
        names = (name for step in self._steps() for name in getattr(step, "columns", ()))
        return tuple(dict.fromkeys(names))

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
            made += _through(branch, own)
        return made

    def _steps(self) -> Iterator[Transform]:
        return (step for branch in self.branches for step in branch)


def _through(branch: tuple[Transform, ...], start: Sample) -> list[Sample]:
    samples = [start]
    for step in branch:
        made = [one for sample in samples for one in step(sample)]
        # Numbered for the random steps that follow; the recipe numbers them for good.
        samples = [replace(one, part=part_within(start.part, i)) for i, one in enumerate(made)]
    return samples


def nested_steps(transforms: Iterable[Transform]) -> Iterator[Transform]:
    """Yield each transform, and behind it those in its branches, at any depth."""
    for step in transforms:
        yield step
        for branch in getattr(step, "branches", ()):
            yield from nested_steps(branch)
