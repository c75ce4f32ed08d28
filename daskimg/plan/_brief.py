"""What tasks are told: the groups of arrays, and which rows make which shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from daskimg.plan._layout import SMALL_CHUNK, small_arrays

if TYPE_CHECKING:
    from daskimg.manifest import Label
    from daskimg.plan._layout import ArraySpec, Layout
    from daskimg.recipe import Recipe

_SMALL_BYTES = 256 << 20  # of the widest small array's chunk: the commit holds it in memory


class ShardRows(NamedTuple):
    """A shard, by its number in the whole store, and the rows that may have samples in it."""

    shard: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Group:
    """The arrays of the whole store or, with splits, of one split: a Zarr group.

    Attributes
    ----------
    name
        Of the split; "" for a store without splits, whose arrays are in its root.
    recipe
        What is done to its pictures.
    arrays
        The arrays that the recipe makes, ``image`` first.
    labels
        The label arrays that the commit makes.
    layout
        How they are cut.
    first_shard
        The number of its first shard, in the whole store.
    """

    name: str
    recipe: Recipe
    arrays: tuple[ArraySpec, ...]
    labels: tuple[Label, ...]
    layout: Layout
    first_shard: int

    @property
    def sharded(self) -> tuple[ArraySpec, ...]:
        """The arrays that tasks write."""
        return tuple(array for array in self.arrays if array.sharded)

    @property
    def targets(self) -> tuple[ArraySpec, ...]:
        """The small arrays that recipes make, carried by the ledger."""
        return tuple(array for array in self.arrays if not array.sharded)

    @property
    def small(self) -> list[ArraySpec]:
        """All arrays that the commit writes."""
        return small_arrays(self.targets, self.labels)

    @property
    def shard_bytes(self) -> int:
        """Bytes of a shard of all sharded arrays: a task holds them."""
        return self.layout.shard * sum(array.sample_bytes for array in self.sharded)

    @property
    def small_chunk(self) -> int:
        """Samples per chunk of the small arrays."""
        widest = max(array.sample_bytes for array in self.small)
        return max(1, min(self.layout.samples, SMALL_CHUNK, _SMALL_BYTES // widest))

    @property
    def shards(self) -> range:
        """The numbers of its shards, in the whole store."""
        return range(self.first_shard, self.first_shard + self.layout.shards)

    def path(self, array: str) -> str:
        """Return where an array lies in the store."""
        return f"{self.name}/{array}" if self.name else array

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first sample, in this group, of a shard, and the one behind its last."""
        return self.layout.span(shard - self.first_shard)


@dataclass(frozen=True, slots=True)
class Brief:
    """All that a task needs to know: small, picklable, the same for every shard.

    Attributes
    ----------
    url, run, root
        The store; the run's id; what relative paths are relative to.
    bytes_column
        The column that pictures come from; ``None`` if they come from paths.
    extensions
        Tried behind a path that names no file.
    rows
        Rows of the manifest.
    groups
        The store's groups of arrays.
    measured
        Whether heights and widths have been read from headers, and must be true.
    columns
        Columns of the manifest that recipes read, and their names in the rows table.
    labels
        The label columns.
    compiled
        Whether kernels are worth their compilation.
    repaired, expected
        Shards that are built again though the ledger has them, and sha256 by name of their
        objects, which must come out the same.
    retry
        Whether finished shards in which files were missing are built again.
    spare
        Bytes of memory that a worker process has for a picture that reaches into several
        shards: kept, it is not decoded for each.
    generation
        The column of the rows that says which writing of an object was listed, if one does.
    key
        Opens what is sealed in the rows; only ever in memory.
    call
        Of which call of the run it is: what workers keep of files is not for another, since a
        file may have been brought back meanwhile.
    convicted
        (shard, row) of what killed its worker: it is not decoded again, its samples there fail.
    pixels
        The fingerprint of what the pixels depend on.
    """

    url: str
    run: str
    root: str
    bytes_column: str | None
    extensions: tuple[str, ...]
    rows: int
    groups: tuple[Group, ...]
    measured: bool
    columns: tuple[tuple[str, str], ...]
    labels: tuple[Label, ...]
    compiled: bool
    repaired: tuple[int, ...] = ()
    expected: tuple[tuple[str, str], ...] = ()
    retry: bool = False
    spare: int = 1 << 28
    generation: str | None = None
    key: bytes = field(default=b"", repr=False)
    call: str = ""
    convicted: tuple[tuple[int, int], ...] = ()
    pixels: str = ""

    @property
    def whose(self) -> str:
        """The name of the run that ``call`` is a part of; its trial is another part."""
        return self.call.partition(".")[0]

    def group_of(self, shard: int) -> tuple[int, Group]:
        """Return the number of the group that a shard belongs to, and the group."""
        for number, group in enumerate(self.groups):
            if shard in group.shards:
                return number, group
        raise IndexError(f"no group has shard {shard}")

    @property
    def samples(self) -> int:
        """Number of samples of all groups."""
        return sum(group.layout.samples for group in self.groups)
