"""Pure arithmetic before any work: counts, shapes, shards, bytes, and what they depend on.

``plan_store`` reads the table and, where it must, the headers of its pictures. Nothing is
decoded and nothing is written.
"""

from daskimg.plan._brief import Brief, Group, ShardRows
from daskimg.plan._cost import Cost, Prices, cost_of, parse_prices
from daskimg.plan._expansion import Expansion, Listed, Places, Uniform
from daskimg.plan._fingerprint import differences, fingerprint
from daskimg.plan._inputs import check_inputs
from daskimg.plan._layout import (
    SHARDED_FROM,
    SMALL_CHUNK,
    ArraySpec,
    Layout,
    arrays_of,
    choose_layout,
)
from daskimg.plan._measure import check_splits
from daskimg.plan._plan import STAGED, Plan, plan_store, stored_columns

SCHEMA = 1
"""Number of the store format; raised when old readers would misread."""

__all__ = [
    "SCHEMA",
    "SHARDED_FROM",
    "SMALL_CHUNK",
    "STAGED",
    "ArraySpec",
    "Brief",
    "Cost",
    "Expansion",
    "Group",
    "Layout",
    "Listed",
    "Places",
    "Plan",
    "Prices",
    "ShardRows",
    "Uniform",
    "arrays_of",
    "check_inputs",
    "check_splits",
    "choose_layout",
    "cost_of",
    "differences",
    "fingerprint",
    "parse_prices",
    "plan_store",
    "stored_columns",
]
