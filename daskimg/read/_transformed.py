"""A function of the user's over whole samples, called by the threads that make batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.augment import generator
from daskimg.errors import OptionError, TransformError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from daskimg.augment import Moment, Who
    from daskimg.read._writers import Norm

    Example = dict[str, Any]
    Transform = Callable[[Example, np.random.Generator], Example]

_IMAGE, _LABEL = "image", "label"


class Field(NamedTuple):
    """The shape of a sample's entry in an array, and its dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Transformed:
    """Samples as a function makes them: ``transform(sample, rng) -> sample``.

    Parameters
    ----------
    transform
        Given a dict of ``image`` (height, width, channel), ``label`` and the targets, and
        random numbers that belong to this sample in this epoch.
    place
        What to call the store in an error.
    norm
        By what images are normalised afterwards, if they are.
    planar
        Whether images are handed over channels first.
    """

    def __init__(
        self, transform: Transform, place: str, norm: Norm | None, *, planar: bool
    ) -> None:
        self._transform, self._place = transform, place
        self._norm, self._planar = norm, planar
        self._name = getattr(transform, "__name__", type(transform).__name__)
        self._made: dict[str, Field] = {}

    def learn(self, example: Example, who: Who, moment: Moment) -> dict[str, Field]:
        """Find by one sample what the function returns; return what is handed over."""
        made = self._called(example, who, moment)
        self._made = {name: Field(value.shape, value.dtype) for name, value in made.items()}
        image = made[_IMAGE]
        if image.ndim != 3:
            raise OptionError(
                f"{self._name} returned an image of shape {image.shape}; it must be "
                "(height, width, channel)"
            )
        height, width, channels = image.shape
        shape = (channels, height, width) if self._planar else image.shape
        if self._norm is not None:
            self._norm.fill(image[None], np.empty((1, *shape), self._norm.dtype))  # or refuses
        dtype = image.dtype if self._norm is None else np.dtype(self._norm.dtype)
        return self._made | {_IMAGE: Field(shape, dtype)}

    def fill(
        self,
        lines: NDArray[np.int64],
        stage: Mapping[str, NDArray[Any]],
        who: Who,
        moment: Moment,
        out: Mapping[str, NDArray[Any]],
    ) -> None:
        """Make some lines of a batch from the same lines as they were read."""
        for line in lines.tolist():
            own = who.at([line])
            made = self._called(
                {name: values[line] for name, values in stage.items()}, own, moment
            )
            found = {name: Field(value.shape, value.dtype) for name, value in made.items()}
            if found != self._made:
                raise self._error(
                    own, f"it returned {_said(found)}, and at first {_said(self._made)}"
                )
            for name, value in made.items():
                if name == _IMAGE:
                    self._put(value, out[name][line : line + 1])
                else:
                    out[name][line] = value

    def _put(self, image: NDArray[Any], out: NDArray[Any]) -> None:
        if self._norm is not None:
            self._norm.fill(image[None], out)
        else:
            out[0] = image.transpose(2, 0, 1) if self._planar else image

    def _called(self, example: Example, who: Who, moment: Moment) -> dict[str, NDArray[Any]]:
        try:
            made: object = self._transform(example, generator(who, moment))
        except Exception as error:
            raise self._error(who, f"{type(error).__name__}: {error}") from error
        if not isinstance(made, dict) or not {_IMAGE, _LABEL} <= made.keys():
            raise self._error(
                who, "it must return a dict with image and label, as it was given one"
            )
        return {name: np.asarray(value) for name, value in made.items()}

    def _error(self, who: Who, message: str) -> TransformError:
        return TransformError(self._name, int(who.row[0]), self._place, message)


def _said(fields: Mapping[str, Field]) -> str:
    return ", ".join(f"{name} {form.shape} {form.dtype}" for name, form in fields.items())
