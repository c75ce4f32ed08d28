"""Samples by number, in any order, without an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskimg.augment import Moment
from daskimg.errors import OptionError
from daskimg.read._reader import allocated
from daskimg.read._staged import Share, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from daskimg.read._batch import Batch
    from daskimg.read._options import ReadOptions
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays


class Taker:
    """Reads samples by number, as an epoch's options say; without threads of its own.

    Parameters
    ----------
    samples, arrays
        The store.
    options
        Form, check and budget are used, seed and epoch for augmentation; not order and choice.
    """

    def __init__(self, samples: Samples, arrays: AnyArrays, options: ReadOptions) -> None:
        self._samples, self._options = samples, options
        self._steps = steps_of(samples, arrays, options)
        self._steps.pool.capacity = options.budget

    def take(self, places: Sequence[int] | NDArray[np.int64], epoch: int | None = None) -> Batch:
        """Return some samples, in the order given; those that failed are not ``valid``.

        Raises
        ------
        OptionError
            If there is no such sample.
        """
        wanted = np.asarray(places, np.int64)
        count = len(self._samples)
        odd = wanted[(wanted < 0) | (wanted >= count)]
        if wanted.ndim != 1 or len(odd):
            shown = odd[0] if len(odd) else f"an array of {wanted.ndim} axes"
            raise OptionError(f"take needs numbers of samples, 0 to {count - 1}, got {shown}")
        share = Share(self._samples.slots[wanted], 0, 0)
        arrays = allocated(self._options, self._steps.fields, len(wanted))
        moment = Moment(self._options.seed, self._options.epoch if epoch is None else epoch)
        batch, work = self._steps.begin(share, moment, arrays)
        work(share.lines)
        return batch
