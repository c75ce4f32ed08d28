"""The only door to Dask: one partition a shard, retries, resume, commit, report."""

from daskimg.build._cluster import ClusterOptions, connect
from daskimg.build._forecast import Forecast, forecast
from daskimg.build._report import Report, Tally
from daskimg.build._run import build_store
from daskimg.build._standing import Deletion, Standing, standing_of
from daskimg.build._trial import check_trial
from daskimg.build._watch import page_of

__all__ = [
    "ClusterOptions",
    "Deletion",
    "Forecast",
    "Report",
    "Standing",
    "Tally",
    "build_store",
    "check_trial",
    "connect",
    "forecast",
    "page_of",
    "standing_of",
]
