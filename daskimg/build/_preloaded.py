"""Imported once, by the process that local workers are forked from: they share its memory."""

import gc

# A collection would write into each object, and a page that is written to is shared no more.
gc.disable()
try:
    import daskimg.build._shards  # noqa: F401
finally:
    gc.freeze()
    gc.enable()
