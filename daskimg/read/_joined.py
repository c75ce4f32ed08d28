"""Several stores one behind another: what must be alike, and their arrays as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError
from daskimg.read._sources import Keeper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.read._options import Effort
    from daskimg.read._pool import Pool, Wish
    from daskimg.read._sources import Looked, Run, Source
    from daskimg.read._stored import Stored
    from daskimg.store import Sharded


def check_alike(stores: Sequence[Stored], *, classes: bool) -> None:
    """Refuse stores that differ in anything but their rows, naming the difference.

    Parameters
    ----------
    stores
        At least one.
    classes
        Whether the names of classes must be the same, too.
    """
    first, facts = stores[0], _facts(stores[0])
    for other in stores[1:]:
        found = _facts(other)
        for name in dict.fromkeys([*facts, *found]):
            if facts.get(name) != found.get(name) and (classes or not name.startswith("classes")):
                advice = "; merge_classes=True numbers them anew" if "classes" in name else ""
                raise OptionError(
                    f"{other.url} differs from {first.url}: {name} is "
                    f"{_shown(found.get(name), facts.get(name))}{advice}"
                )


def _facts(stored: Stored) -> dict[str, Any]:
    """Return what must be the same, by what it is called in a message."""
    attributes = stored.attributes
    several = {name for name, (_, kind) in attributes["columns"].items() if kind == "multi"}
    facts: dict[str, Any] = {"its set of arrays": list(stored.names)}
    for name in stored.names:
        array = stored.group[name]
        if name not in several:  # a place for each class
            facts[f"the shape of a sample of {name}"] = array.shape[1:]
        facts[f"the dtype of {name}"] = str(array.dtype)
    facts["the recipe"] = attributes.get("recipe")
    facts["columns"] = attributes["columns"]
    for column, names in attributes["classes"].items():
        facts[f"classes of {column}"] = names
    return facts


def _shown(one: Any, other: Any) -> str:
    """Say two values, or where they differ, if they are long."""
    if isinstance(one, list) and isinstance(other, list):
        more = [each for each in one if each not in other]
        less = [each for each in other if each not in one]
        parts = [
            f"{word} {each[0]!r}" for word, each in (("with", more), ("without", less)) if each
        ]
        return " and ".join(parts) or "in another order"
    if isinstance(one, dict) and isinstance(other, dict):
        name = next(n for n in dict.fromkeys([*one, *other]) if one.get(n) != other.get(n))
        return f"another: its {name} is {one.get(name)!r}, not {other.get(name)!r}"
    return f"{one!r}, not {other!r}"


def joined_attributes(stores: Sequence[Stored]) -> dict[str, Any]:
    """Return what several stores say of themselves together; of one, what it says."""
    first = stores[0].attributes
    if len(stores) == 1:
        return first
    each = [stored.attributes for stored in stores]
    counts = {name: sum(one[name] for one in each) for name in ("samples", "failed")}
    prints = [one["fingerprints"]["pixels"] for one in each]
    fingerprints = first["fingerprints"] | {"pixels": prints}
    return first | counts | _joined_moments(each) | {"fingerprints": fingerprints}


def _joined_moments(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and std of all good samples: pictures are of one size, so all count alike."""
    good = [one for one in each if one["mean"] is not None]
    if not good:
        return {"mean": None, "std": None}
    counts = np.array([one["samples"] - one["failed"] for one in good], np.float64)[:, None]
    means, stds = (np.array([one[name] for one in good]) for name in ("mean", "std"))
    share = counts / counts.sum()
    mean = (share * means).sum(axis=0)
    variance = (share * (stds**2 + (means - mean) ** 2)).sum(axis=0)
    return {"mean": mean.tolist(), "std": np.sqrt(variance).tolist()}


def joined_table(tables: Sequence[pd.DataFrame], stores: Sequence[Stored]) -> pd.DataFrame:
    """Return tables of stores as one, with the number of the store; of one, its own."""
    import pandas as pd

    if len(tables) == 1:
        return tables[0]
    begins = np.cumsum([0, *map(len, stores)]).tolist()
    parts = []
    for number, table in enumerate(tables):
        slots = {n: table[n] + begins[number] for n in ("first_sample", "sample") if n in table}
        parts.append(table.assign(store=number, **slots))
    return pd.concat(parts, ignore_index=True)


class JoinedSharded:
    """Sharded arrays one behind another: what a reader asks of one.

    Attributes
    ----------
    shape, dtype
        Of all together.
    shard, chunk, unit
        The most samples that one of them has in each.
    """

    def __init__(self, parts: Sequence[Sharded]) -> None:
        self.parts = tuple(parts)
        self.begins = np.cumsum([0, *(part.shape[0] for part in parts)])
        first = self.parts[0]
        self.name, self.dtype = first.name, first.dtype
        self.shape: tuple[int, ...] = (int(self.begins[-1]), *first.shape[1:])
        self.sample_bytes = first.sample_bytes
        self.mappable = all(part.mappable for part in parts)
        self.local = all(part.local for part in parts)
        self.shard = max(part.shard for part in parts)
        self.chunk = max(part.chunk for part in parts)
        self.unit = max(part.unit for part in parts)

    def at_size(self, height: int, width: int) -> JoinedSharded:
        """Return the arrays as they would be, were their pictures of another size."""
        return JoinedSharded([part.at_size(height, width) for part in self.parts])

    def edges(self, kind: str) -> NDArray[np.int64]:
        """Return where chunks or shards begin, and where the last one ends."""
        starts = [
            begin + np.arange(0, part.shape[0], part.chunk if kind == "chunks" else part.shard)
            for begin, part in zip(self.begins.tolist(), self.parts, strict=False)
        ]
        return np.concatenate([*starts, self.begins[-1:]])


class JoinedSource:
    """Samples of several sources, one behind another."""

    def __init__(self, sharded: JoinedSharded, sources: Sequence[Source]) -> None:
        self.sharded = sharded
        self._sources = sources

    @property
    def pooled(self) -> list[Looked]:
        """Those of them that are read through a pool."""
        begins = self.sharded.begins.tolist()
        return [
            _Part(each, begins[i], begins[i + 1])
            for i, source in enumerate(self._sources)
            for each in source.pooled
        ]

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie; the slots rise."""
        cuts = np.searchsorted(slots, self.sharded.begins)
        for i, source in enumerate(self._sources):
            part = slice(cuts[i], cuts[i + 1])
            if cuts[i] < cuts[i + 1]:
                yield from source.runs(slots[part] - self.sharded.begins[i], lines[part])


class _Part:
    """What is asked ahead of one of several arrays, by the slots of all."""

    def __init__(self, own: Looked, begin: int, stop: int) -> None:
        self._own, self._begin, self._stop = own, begin, stop
        self.sharded, self.pool, self.is_as_read = own.sharded, own.pool, own.is_as_read

    def wishes(self, slots: NDArray[np.int64]) -> list[Wish]:
        """Return the pieces that some slots need; of those of other arrays, none."""
        own = (slots >= self._begin) & (slots < self._stop)
        return self._own.wishes(slots[own] - self._begin)


class JoinedArrays(Keeper):
    """The sharded arrays of several stores, each as one."""

    def __init__(self, stores: Sequence[Stored]) -> None:
        self._each = [stored.arrays for stored in stores]

    def sharded(self, name: str) -> JoinedSharded | None:
        """Return an array, or ``None`` if it is one of the small ones."""
        parts = [arrays.sharded(name) for arrays in self._each]
        found = [part for part in parts if part is not None]
        return JoinedSharded(found) if found else None

    def source(self, sharded: JoinedSharded, pool: Pool, effort: Effort) -> JoinedSource:
        """Return an array's samples: of each store mapped where they can be."""
        pairs = zip(self._each, sharded.parts, strict=True)
        return JoinedSource(sharded, [own.source(part, pool, effort) for own, part in pairs])
