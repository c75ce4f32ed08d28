"""Which samples are read, and how often each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.errors import OptionError, StoreError
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from daskimg.read._options import OrderOptions, Selection
    from daskimg.read._samples import Samples


def chosen_slots(samples: Samples, selection: Selection) -> NDArray[np.int64]:
    """Return the places among the samples that a selection leaves, rising.

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
        wanted &= _of_rows(samples, selection.rows)
    if selection.keys is not None:
        wanted &= _of_keys(samples, selection.keys)
    if selection.classes is not None:
        wanted &= _of_classes(samples, selection.classes)
    if len(wanted) and not wanted.any():
        names = ("rows", "mask", "keys", "classes")
        used = [name for name in names if getattr(selection, name) is not None]
        raise OptionError(
            f"no sample is left to read by {' and '.join(used)}; choose others, or leave "
            f"{'one of them' if len(used) > 1 else used[0]} out"
        )
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


def _of_rows(
    samples: Samples, rows: Sequence[int] | NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    wanted = np.asarray(rows)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise OptionError(
            f"rows must be whole numbers, one behind another, got {wanted.ndim} axes of "
            f"{wanted.dtype}; try rows=[0, 1], or mask= for booleans and keys= for names"
        )
    there = samples.array("row")
    others = wanted[~np.isin(wanted, there)]
    if len(others):
        count = samples.table_rows
        outside = others[(others < 0) | (others >= count)]
        if len(outside):
            raise OptionError(
                f"the table has {counted(count, 'row')}, and no row {outside[0]}; "
                f"try 0 to {count - 1}"
            )
    return np.isin(there, wanted)


def _of_keys(samples: Samples, keys: Sequence[str]) -> NDArray[np.bool_]:
    there = samples.cells("key")
    known = set(there)
    missing = [key for key in keys if key not in known]
    if missing:
        others = f", nor {counted(len(missing) - 1, 'other')} of keys" if missing[1:] else ""
        raise OptionError(
            f"no sample has the key {missing[0]!r}{others}; "
            "samples.rows['key'] has those there are"
        )
    return np.asarray(there.isin(keys))


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


def sample_weights(
    samples: Samples, places: NDArray[np.int64], options: OrderOptions
) -> NDArray[np.float64]:
    """Return how often the samples at some places are to be drawn, in any unit.

    Raises
    ------
    OptionError
        If the weights do not fit the samples, the column has no values to be balanced, or
        nothing would be drawn.
    """
    weights = np.ones(len(samples)) if options.weights is None else options.weights
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(samples),):
        raise OptionError(
            f"weights must be {len(samples):,} numbers, one a sample, got {weights.shape}; "
            "leave them out, or try balance='label'"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise OptionError("weights must be finite numbers of at least 0; try 0 for what is bad")
    found = weights[places]
    with np.errstate(over="ignore"):
        if not np.isfinite(found.sum()):
            raise OptionError(
                "the sum of the weights is more than a float64 holds; divide them by the largest"
            )
    if options.balance is not None:
        found = _balanced(samples, places, options.balance, found)
    if not found.sum() > 0:
        raise OptionError("the weights leave nothing to draw; give one sample more than 0")
    return found


def _balanced(
    samples: Samples, places: NDArray[np.int64], name: str, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weights whose sum is 1 for each value of a column, and 0 where it has none."""
    values = samples.array(name)[places]
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise OptionError(
            f"balance needs one class or whole number a sample, and {name!r} is "
            f"{values.shape[1:] or 'one'} of {values.dtype}; give weights instead"
        )
    kinds, codes = np.unique(values, return_inverse=True)
    sums = np.bincount(codes, weights, len(kinds))
    sums[(kinds < 0) | (sums == 0)] = np.inf
    return weights / sums[codes]
