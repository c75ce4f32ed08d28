"""The plan: what a run will do, pure arithmetic before any work.

Everything here is known before a pixel is decoded and is a function of the table, the recipe
and the options; never of cores or workers, so that a run resumes anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from daskimg import fetch
from daskimg.errors import OptionError, PlanError
from daskimg.options import RunOptions, StoreOptions, whole
from daskimg.plan._brief import Brief, Group, ShardRows
from daskimg.plan._expansion import Listed, Uniform
from daskimg.plan._fingerprint import fingerprint
from daskimg.plan._inputs import address, check_inputs, check_settings
from daskimg.plan._layout import arrays_of, choose_layout
from daskimg.plan._measure import check_splits, expand, named_split
from daskimg.plan._summary import lines, page, plain, task_bytes
from daskimg.words import megabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from daskimg.manifest import Facts, Label, Manifest, Split
    from daskimg.plan._expansion import Expansion
    from daskimg.plan._layout import ArraySpec
    from daskimg.plan._measure import Phase
    from daskimg.recipe import Recipe

STAGED = ("daskimg_group", "daskimg_first", "daskimg_samples", "daskimg_height", "daskimg_width")
"""Columns that the staged rows have besides the table's: the fields of ``Places``."""

_SHARD_LIMIT = 2048 * 1_000_000  # a task holds one shard in memory


@dataclass(frozen=True)
class Plan:
    """What a run will do; nothing has been written yet.

    Attributes
    ----------
    url
        Where the store will be.
    manifest, facts
        The table, and what one pass over it found.
    recipe
        What is done to each picture.
    split
        How rows are split, or ``None``.
    expansion
        Which samples each row gives.
    groups
        The store's groups of arrays: one, or one a split.
    options
        What the run puts up with.
    """

    url: str
    manifest: Manifest
    facts: Facts
    recipe: Recipe
    split: Split | None
    expansion: Expansion
    groups: tuple[Group, ...]
    options: RunOptions

    @property
    def samples(self) -> int:
        """Number of samples of all groups."""
        return sum(self.sizes.values())

    @property
    def shards(self) -> int:
        """Number of shards of all groups: of tasks, and of ledger entries."""
        return sum(group.layout.shards for group in self.groups)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each group; the only one is called ""."""
        return {group.name: group.layout.samples for group in self.groups}

    @property
    def empty_rows(self) -> int:
        """Rows that give no sample."""
        return self.expansion.empty

    @property
    def written_bytes(self) -> int:
        """Bytes of the arrays, uncompressed."""
        return sum(
            group.layout.samples * array.sample_bytes
            for group in self.groups
            for array in (*group.sharded, *group.small)
        )

    @property
    def objects(self) -> int:
        """Objects that the build writes: shards, ledger, small arrays, tables, metadata."""
        return 6 + sum(map(_objects, self.groups))

    @property
    def shard_bytes(self) -> int:
        """Bytes that a task holds for its shard of all sharded arrays."""
        return max(group.shard_bytes for group in self.groups)

    @property
    def task_bytes(self) -> int | None:
        """The most that a task holds, its largest picture included, if sizes have been read."""
        return task_bytes(self)

    @property
    def root(self) -> str:
        """What relative paths are relative to, from wherever a worker runs."""
        root = self.manifest.root
        return root if fetch.is_url(root) else fetch.open_folder(root or ".").url

    @property
    def values(self) -> int:
        """Number of values of the image arrays."""
        return sum(g.layout.samples * math.prod(g.arrays[0].shape) for g in self.groups)

    def brief(
        self,
        run: str,
        *,
        repaired: tuple[int, ...] = (),
        expected: dict[str, str] | None = None,
        compiled: bool = False,
        retry: bool = False,
        spare: int = 0,
        call: str = "",
    ) -> Brief:
        """Return what the tasks of a run are told."""
        return Brief(
            url=self.url,
            run=run,
            root=self.root,
            bytes_column=self.manifest.bytes_column,
            extensions=self.manifest.extensions,
            rows=self.facts.rows,
            groups=self.groups,
            measured=self.expansion.measured,
            columns=stored_columns(self.recipe, self.facts),
            labels=self.facts.labels,
            compiled=compiled,
            repaired=repaired,
            expected=tuple(sorted((expected or {}).items())),
            retry=retry,
            spare=spare,
            generation=self.manifest.generation,
            key=self.facts.key,
            call=call,
            pixels=fingerprint(self.pixels()) if run else "",  # a trial writes nothing
        )

    def shard_rows(self) -> Iterator[ShardRows]:
        """Yield every shard with the rows whose samples lie in it.

        There may be millions: whoever lists them all pays 160 bytes for each.
        """
        for number, group in enumerate(self.groups):
            spans = self.expansion.spans(number, group.layout)
            for shard, (first, stop) in zip(group.shards, spans, strict=True):
                yield ShardRows(shard, first, stop)

    def staged(self) -> Iterator[pa.Table]:
        """Yield the numbered rows, with where their samples lie, in pieces.

        Raises
        ------
        ManifestError
            Behind the last piece, if the table has changed since it was scanned.
        """
        row = 0
        for piece in self.manifest.pieces(self.facts):
            table = pa.Table.from_pandas(piece, schema=self.facts.schema, preserve_index=False)
            places = self.expansion.places(row, row + len(piece))
            for name, column in zip(STAGED, places, strict=True):
                table = table.append_column(name, pa.array(column))
            row += len(piece)
            yield table.replace_schema_metadata(None)

    def pixels(self) -> dict[str, Any]:
        """Return, by name, everything that the bytes of the image arrays depend on."""
        recipe = self.recipe.to_dict()
        found = {
            "rows": self.facts.rows,
            "paths and keys": self.facts.digest,
            "picture bytes from": self.manifest.bytes_column or "paths",
            "seed": recipe.pop("seed"),
            "exact decode": recipe["decode"].pop("exact"),
            "recipe": recipe,
            "custom code": self.recipe.sources(),
            "decoder": self.recipe.versions(),
            "samples": self.samples,
        }
        if self.split is not None:
            found["split"] = str(self.split)
        if self.manifest.extensions:
            found["extensions"] = list(self.manifest.extensions)
        for column, _ in stored_columns(self.recipe, self.facts):
            # Masks, joints, regions: what is written follows from their cells.
            found[f"cells of {column}"] = self.facts.digests[column]
        if self.expansion.digest is not None:
            found["splits and sizes of pictures"] = self.expansion.digest
        for group in self.groups:
            found |= _layout_parts(group)
        return found

    def labels(self) -> dict[str, Any]:
        """Return, by name, everything that the label arrays and the rows table depend on."""
        return {
            "labels": [label.to_json() for label in self.facts.labels],
            "columns": dict(self.facts.columns),
            "values": self.facts.values_digest,
            "class words": self.manifest.class_words,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the plan as a table of two columns, for people."""
        yield from lines(self)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data: counts are numbers, sizes are bytes.

        Of ``shard_samples``, ``chunk_samples`` and ``shard_bytes`` it is the largest of all
        splits. ``task_bytes`` is ``None`` where the sizes of pictures are not read before.
        """
        return plain(self)

    def __repr__(self) -> str:
        return "\n".join(f"{name:>16}  {text}" for name, text in self.lines())

    def _repr_html_(self) -> str:
        return page(self)


def plan_store(
    manifest: Manifest,
    url: str | PathLike[str],
    recipe: Recipe,
    *,
    split: Split | str | None = None,
    limit: int | None = None,
    store: StoreOptions | None = None,
    options: RunOptions | None = None,
    stored_rows: int | None = None,
    on_rows: Callable[[Phase, int], None] | None = None,
) -> Plan:
    """Read the table once and plan the store; nothing is written.

    Where the number of samples of a row depends on its picture's size, the header of every
    picture is read too.

    Parameters
    ----------
    manifest
        The table; see ``read_manifest``.
    url
        Where the store is to be: a local path or a URL.
    recipe
        What is done to each picture.
    split
        ``every:K`` puts each K-th row into ``test``, the rest into ``train``;
        ``hash:COLUMN:0.8,0.1,0.1`` splits by a column, so that equal cells never part;
        ``column:NAME`` by the names in a column. By default a source that is made of splits
        keeps them, and others have none (which ``none`` asks for).
    limit
        Only so many first samples, of all splits together.
    store
        Shards, chunks and codec.
    options
        What the run puts up with.
    stored_rows
        Rows of an unfinished store at ``url``, to tell appended rows from other changes.
    on_rows
        Called now and then with what is being read, ``headers`` of pictures or the ``table``,
        and the number of rows so far.

    Raises
    ------
    PlanError
        If there is nothing to do, or inputs do not fit together.
    """
    check_inputs(manifest, recipe)
    check_settings({"split": split, "store": store, "options": options})
    url = address(url)
    if limit is not None:
        whole("limit", limit, "or leave it out")
    divided = named_split(manifest, split)
    names = divided.names if divided else ("",)
    check_splits(recipe, names)
    recipes = {name: recipe.of(name) for name in names}
    specs = {name: one.outputs()[0] for name, one in recipes.items()}
    tell = on_rows or _silent
    listed = expand(manifest, recipes, divided, limit, tell)
    manifest = _cut(manifest, recipe, listed, limit)
    facts = manifest.scan(stored_rows, divided, partial(tell, "table"))
    if not facts.rows:
        raise PlanError(f"{manifest.source} is empty: there is nothing to build")
    expansion = listed or _uniform(facts.rows, recipe, limit)
    if not sum(expansion.samples):
        raise PlanError(f"none of the {facts.rows:,} rows of {manifest.source} gives a sample")
    groups: list[Group] = []
    for name, samples in zip(names, expansion.samples, strict=True):
        arrays = arrays_of(specs[name])
        _check_names(arrays, facts.labels)
        sharded = sum(array.sample_bytes for array in arrays if array.sharded)
        layout = choose_layout(samples, sharded, store or StoreOptions())
        first = groups[-1].shards.stop if groups else 0
        groups.append(Group(name, recipes[name], arrays, facts.labels, layout, first))
        _check_shard(groups[-1])
    url = fetch.open_folder(url).url  # absolute: a worker may run in another folder
    return Plan(
        url,
        manifest,
        facts,
        recipe,
        divided,
        expansion,
        tuple(groups),
        options or RunOptions(),
    )


def _silent(phase: Phase, rows: int) -> None:
    """Tell nobody."""


def _cut(manifest: Manifest, recipe: Recipe, listed: Listed | None, limit: int | None) -> Manifest:
    """Return the manifest without the rows behind the last sample that is wanted."""
    if listed is not None:
        return manifest.limited(listed.rows)
    return manifest if limit is None else manifest.limited(-(-limit // len(recipe.outputs())))


def _uniform(rows: int, recipe: Recipe, limit: int | None) -> Uniform:
    parts = len(recipe.outputs())
    return Uniform(rows, parts, min(rows * parts, limit or rows * parts))


def stored_columns(recipe: Recipe, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Return the columns that a recipe reads, each with its name in the rows table.

    Raises
    ------
    PlanError
        If the table has no such column.
    """
    stored = {column.column: column.stored for column in facts.kept}
    for column in recipe.columns:
        if column not in stored:
            raise PlanError(
                f"the recipe reads column {column!r}, which the table has not; it has "
                f"{', '.join(stored) or 'none but paths'}"
            )
    return tuple((column, stored[column]) for column in recipe.columns)


def _check_shard(group: Group) -> None:
    if group.shard_bytes > _SHARD_LIMIT:
        raise PlanError(
            f"a shard of {group.layout.shard:,} samples is {megabytes(group.shard_bytes)}, and "
            f"a task holds it whole; the limit is {megabytes(_SHARD_LIMIT)}: lower "
            f"--shard-samples or --size"
        )


def _objects(group: Group) -> int:
    chunks = -(-group.layout.samples // group.small_chunk)
    sharded = len(group.sharded)
    return group.layout.shards * (sharded + 1) + (chunks + 1) * len(group.small) + sharded


def _layout_parts(group: Group) -> dict[str, Any]:
    prefix = f"{group.name} " if group.name else ""
    layout = group.layout
    return {
        f"{prefix}shard samples": layout.shard,
        f"{prefix}chunk samples": layout.chunk,
        "codec": layout.codec,
    }


_TAKEN = {"row", "part", "status", "label", "daskimg"}


def _check_names(arrays: tuple[ArraySpec, ...], labels: tuple[Label, ...]) -> None:
    names = [array.name for array in arrays]
    for name in names:
        if name in _TAKEN or names.count(name) > 1:
            raise PlanError(f"the recipe makes a target {name!r}, which the store has; rename it")
    for label in labels:
        if label.array in names:
            raise OptionError(
                f"the label column {label.column!r} has the name of an array of the recipe; "
                f"rename it in the table"
            )
