"""An array of chosen samples of several arrays, read when it is sliced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Lazy:
    """Zarr arrays one behind another, or some of their samples: sliced like NumPy.

    Parameters
    ----------
    arrays
        Of one shape but for their first axis, and of one dtype.
    chosen : (sample,) int64
        Which samples of all these; all, if none are given.
    """

    def __init__(self, arrays: Sequence[Any], chosen: NDArray[np.int64] | None) -> None:
        self._arrays, self._chosen = arrays, chosen
        self._ends = np.cumsum([array.shape[0] for array in arrays])
        count = int(self._ends[-1]) if chosen is None else len(chosen)
        self.shape: tuple[int, ...] = (count, *arrays[0].shape[1:])
        self.dtype: np.dtype[Any] = arrays[0].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Lazy(shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Return samples by a number, a slice, numbers or a mask, and what follows of each."""
        first, *others = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis:
            first, others = slice(None), [Ellipsis, *others] if others else []
        places = np.arange(len(self))[first]
        slots = places if self._chosen is None else self._chosen[places]
        found = self._read(np.atleast_1d(slots))
        return found[(0, *others)] if slots.ndim == 0 else found[(slice(None), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all samples."""
        if copy is False:
            raise ValueError("samples are read from a store, which takes a copy")
        return self[...].astype(dtype or self.dtype, copy=False)

    def _read(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        out = np.empty((len(slots), *self.shape[1:]), self.dtype)
        number = np.searchsorted(self._ends, slots, "right")
        for i in np.unique(number).tolist():
            lines, array = number == i, self._arrays[i]
            own = slots[lines] - (self._ends[i] - array.shape[0])
            first, stop = int(own.min()), int(own.max()) + 1
            if stop - first == len(own) and (np.diff(own) == 1).all():
                out[lines] = array[first:stop]
            else:
                out[lines] = array.oindex[own]
        return out
