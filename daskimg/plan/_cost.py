"""What a run asks of storages, in requests and bytes, and what that costs at given prices."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.errors import OptionError
from daskimg.plan._summary import decodes
from daskimg.words import megabytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskimg.plan._plan import Plan

# Counted by the tests' server, of a run that nothing disturbs.
_RUN_READS = 11  # that depend on nothing: plan, staged rows, commit, what a bucket permits
_RUN_WRITES = 3  # beside the objects that stay: staged rows, an account of the run
_RUN_LISTS = 11
_WHOLE_LISTS = 4  # of them, of all objects, in pages
_BILLED = 10_000  # requests that a price is for
_LISTED = 1_000  # objects that a page of a listing names


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a storage charges, in any currency.

    Attributes
    ----------
    class_a, class_b
        Of 10,000 requests: writes and listings; reads.
    read_gb
        Of a gigabyte read: nothing within a region, something between two.
    stored_gb
        Of a gigabyte stored for a month.
    """

    class_a: float = 0.0
    class_b: float = 0.0
    read_gb: float = 0.0
    stored_gb: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no price."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                name = each.name.replace("_", "-")
                raise OptionError(f"the price {name} must be 0 or more, got {value!r}")


def parse_prices(words: Iterable[str]) -> Prices | None:
    """Return prices written as ``name=amount``; ``None`` if there are none.

    >>> parse_prices(["class-a=0.05", "read-gb=0.02"]).class_a
    0.05

    Raises
    ------
    OptionError
        If one is not written so.
    """
    names = [each.name.replace("_", "-") for each in fields(Prices)]
    given: dict[str, float] = {}
    for word in words:
        name, _, amount = word.partition("=")
        try:
            given[name.replace("-", "_")] = float(amount)
        except ValueError:
            name = ""
        if name not in names:
            raise OptionError(
                f"a price is written name=amount, with a name of {', '.join(names)}; got "
                f"{word!r}; try class-a=0.05"
            )
    return Prices(**given) if given else None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run asks for, about: it repeats what fails.

    Attributes
    ----------
    class_a, class_b
        Requests to Google's storage that write or list, and that read.
    other
        Requests to other servers.
    read_bytes, written_bytes
        From sources, and into the store.
    """

    class_a: int
    class_b: int
    other: int
    read_bytes: int
    written_bytes: int

    @property
    def in_cloud(self) -> bool:
        """Whether any of it goes to Google's storage."""
        return bool(self.class_a or self.class_b)

    def priced(self, prices: Prices) -> dict[str, float]:
        """Return the money, by what it is for; storage for a month."""
        return {
            "class A": self.class_a / _BILLED * prices.class_a,
            "class B": self.class_b / _BILLED * prices.class_b,
            "read": self.read_bytes / 1e9 * prices.read_gb,
            "stored a month": self.written_bytes / 1e9 * prices.stored_gb,
        }

    def lines(self, prices: Prices | None) -> Iterable[tuple[str, str]]:
        """Yield the cost as lines of a table."""
        classes = f"about {self.class_a:,} class A, {self.class_b:,} class B, {self.other:,} other"
        yield "requests", classes
        read, written = megabytes(self.read_bytes), megabytes(self.written_bytes)
        yield "bytes", f"about {read} in, {written} out"
        if prices is not None:
            money = self.priced(prices)
            parts = ", ".join(f"{name} {amount:,.2f}" for name, amount in money.items())
            yield "price", f"about {sum(money.values()):,.2f} ({parts})"

    def to_json(self, prices: Prices | None = None) -> dict[str, Any]:
        """Return the cost as plain data."""
        found: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "price": None if prices is None else self.priced(prices)}


def cost_of(plan: Plan, read_bytes: int) -> Cost:
    """Return what a run of a plan asks for, its sources of so many bytes."""
    reads = _reads(plan)
    in_store = fetch.bucket_of(plan.url) is not None
    cloud, web = reads["cloud"], reads["web"]
    if in_store:
        lists = _RUN_LISTS + _WHOLE_LISTS * (plan.objects // _LISTED)
        class_a = plan.objects + _RUN_WRITES + lists
        return Cost(class_a, cloud + _RUN_READS, web, read_bytes, plan.written_bytes)
    other = plan.objects + _RUN_READS if fetch.is_url(plan.url) else 0
    return Cost(0, cloud, web + other, read_bytes, plan.written_bytes)


def _reads(plan: Plan) -> dict[str, int]:
    """Return how many sources are read from Google's storage and from other servers.

    Judged by the rows of the sample; a source that reaches into several shards is read for each.
    """
    paths = plan.facts.sample["path"].dropna().tolist()
    places = [plan.manifest.resolve(path) for path in paths if path]
    cloud = sum(fetch.bucket_of(place) is not None for place in places)
    web = sum(fetch.is_remote(place) for place in places) - cloud
    rows = (plan.facts.rows - plan.empty_rows) * decodes(plan)
    share = rows / max(1, len(places))
    if plan.manifest.bytes_column is not None:
        share = 0.0  # row groups of a few files
    return {"cloud": round(cloud * share), "web": round(web * share)}
