"""Imported once, by the process that local workers are forked from: they share its memory."""

import gc

# A collection would write into each object, and a page that is written to is shared no more.
gc.disable()

import dask.dataframe  # noqa: E402, F401  after gc.disable, like all that follows
import distributed.nanny  # noqa: E402, F401

import daskimg.build._shards  # noqa: E402, F401

gc.freeze()
gc.enable()
