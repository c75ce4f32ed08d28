"""Numba kernels: loops over pixels, and nothing else.

Rules of this room, each with its reason:

* NumPy and numba, with its llvmlite, are the only imports: kernels are testable alone.
  Importing this room costs numba's import; a kernel is compiled by its first call.
* Kernels fill ``out`` and allocate nothing but a few kilobytes of scratch: the caller owns
  memory. Arrays are C-contiguous unless said otherwise; ``reshape(-1)`` is then a view.
* ``nogil`` always, ``parallel`` never: Dask already uses every core, and numba's workqueue
  threading layer may not be entered by two threads at once. ``cache`` never: several
  workers that write one cache have raced (numba #4807).
* Integers are ``uint64`` throughout, so that a run with ``NUMBA_DISABLE_JIT=1`` gives the
  same bits and no overflow warnings.
* Inner loops run over one-dimensional slices from zero: where numba cannot see that an
  index is not negative it wraps it, and LLVM no longer vectorises (six times slower).
"""

from daskimg.kernels._crops import gather_nearest, gather_scaled_windows, jitter_colours
from daskimg.kernels._gather import gather_look_up, gather_scaled, streams
from daskimg.kernels._gaussians import draw_gaussians
from daskimg.kernels._noise import fill_noise, philox4x32
from daskimg.kernels._sums import channel_sums, image_sums
from daskimg.kernels._tables import look_up

__all__ = [
    "channel_sums",
    "draw_gaussians",
    "fill_noise",
    "gather_look_up",
    "gather_nearest",
    "gather_scaled",
    "gather_scaled_windows",
    "image_sums",
    "jitter_colours",
    "look_up",
    "philox4x32",
    "streams",
]
