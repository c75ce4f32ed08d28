"""What reading gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Batch(NamedTuple):
    """Samples in the order of an epoch.

    Attributes
    ----------
    image
        (sample, height, width, channel), or (sample, channel, height, width) if so wished.
        The caller owns it, unless ``reuse`` was asked for.
    label
        (sample,) or, for several classes at once, (sample, class).
    sample
        (sample,) int64: the numbers of these among the samples that are read, which without a
        view are their slots; -1 for padding.
    valid
        (sample,) bool: false for what failed and is kept as zeros, and for the padding that
        gives every rank equally many samples. Padding is zeros; its labels are -1, or NaN.
    targets
        What else was asked for, by name: (sample, ...) each.
    """

    image: NDArray[Any]
    label: NDArray[Any]
    sample: NDArray[np.int64]
    valid: NDArray[np.bool_]
    targets: dict[str, NDArray[Any]]

    def __repr__(self) -> str:
        """Say shapes and dtypes: the arrays themselves would fill pages."""
        shown = {name: _shown(value) for name, value in zip(self._fields, self, strict=True)}
        return f"Batch({', '.join(f'{name}={text}' for name, text in shown.items())})"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name!r}: {_shown(each)}' for name, each in value.items())}}}"
    return f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else repr(value)
