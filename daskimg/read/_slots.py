"""Which slots are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.errors import OptionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from daskimg.read._options import Selection
    from daskimg.read._samples import Samples


def chosen_slots(samples: Samples, selection: Selection) -> NDArray[np.int64]:
    """Return the slots that a selection leaves, rising.

    Raises
    ------
    OptionError
        If it does not fit the store, or leaves nothing.
    StoreError
        If some of them failed, and that was not to be.
    """
    wanted = np.ones(len(samples), bool)
    if selection.mask is not None:
        wanted &= _masked(selection.mask, len(samples))
    if selection.rows is not None:
        wanted &= np.isin(samples.array("row"), np.asarray(selection.rows))
    if selection.classes is not None:
        wanted &= _of_classes(samples, selection.classes)
    if len(wanted) and not wanted.any():
        raise OptionError("rows, mask and classes leave no sample to read; leave one of them out")
    if selection.failed == "drop":
        wanted &= samples.status == store.OK
    slots = np.flatnonzero(wanted)
    if selection.failed == "raise":
        _refuse_failed(samples, slots)
    return slots


def _masked(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    mask = np.asarray(mask)
    if mask.shape != (count,) or mask.dtype != bool:
        raise OptionError(
            f"mask must be {count:,} booleans, one a slot, got {mask.shape} of {mask.dtype}; "
            "try samples.labels == 0"
        )
    return mask


def _of_classes(samples: Samples, classes: Sequence[str | int]) -> NDArray[np.bool_]:
    codes = [_code(samples.classes, each) for each in classes]
    labels = samples.labels
    if labels.ndim == 2:
        several: NDArray[np.bool_] = (labels[:, codes] != 0).any(axis=1)
        return several
    return np.isin(labels, codes)


def _code(names: list[str], given: Any) -> int:
    """Return the code of a class that is given by name or by code."""
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, int | np.integer) and (not names or 0 <= given < len(names)):
        return int(given)  # where classes have no names, labels are plain numbers
    there = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "none"
    raise OptionError(f"the first label column has no class {given!r}; it has {there}")


def _refuse_failed(samples: Samples, slots: NDArray[np.int64]) -> None:
    failed = slots[samples.status[slots] != store.OK]
    if len(failed):
        raise StoreError(
            f"{samples.url}: {len(failed):,} of the samples to read failed, the first is sample "
            f"{failed[0]}; samples.failures tells why; failed='drop' leaves them out"
        )
