"""Exact channel sums, the mean and standard deviation they give, and normalisation.

NumPy does the work where there is little of it, and numba's kernels where there is much:
importing numba and compiling cost a second, so this room imports them only when they pay.
Both ways give the same integers and the same bits.
"""

from daskimg.statistics._normalization import Floating, Layout, Mode, normalize
from daskimg.statistics._sums import COMPILE_PAYS, FLOAT_STEPS, ChannelSums, channel_sums

__all__ = [
    "COMPILE_PAYS",
    "FLOAT_STEPS",
    "ChannelSums",
    "Floating",
    "Layout",
    "Mode",
    "channel_sums",
    "normalize",
]
