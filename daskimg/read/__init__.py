"""Reading a finished store: samples and batches, as NumPy. Needs no Dask and no decoder.

Batches are made by threads of this process, over code that lets go of the GIL. Not by worker
processes: each of these would map, check and decode for itself, send every batch through a
pipe, and, in other loaders, repeats or loses samples (xbatcher #176, WebDataset #447).
"""

from daskimg.read._batch import Batch
from daskimg.read._epoch import Epoch
from daskimg.read._opening import open_store, open_stores, splits_of
from daskimg.read._options import ReadOptions
from daskimg.read._order import epoch_order, shuffle_score
from daskimg.read._samples import Samples

__all__ = [
    "Batch",
    "Epoch",
    "ReadOptions",
    "Samples",
    "epoch_order",
    "open_store",
    "open_stores",
    "shuffle_score",
    "splits_of",
]
