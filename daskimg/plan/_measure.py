"""One pass over a table before it is scanned: its splits, and the sizes of its pictures."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from daskimg import fetch
from daskimg.decode import open_windows
from daskimg.errors import PlanError, SampleError
from daskimg.headers import header_of, read_headers
from daskimg.manifest import Split, declared_sizes, parse_split, read_pictures
from daskimg.plan._expansion import LINE, Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from numpy.typing import NDArray

    from daskimg.manifest import Cells, Manifest
    from daskimg.recipe import Recipe

    Phase = Literal["headers", "table"]
    Count = Callable[[int, int, int, str | None], int]
    Size = tuple[int, int, str | None]

_SIZES = 1 << 16  # different sizes whose counts are remembered


def named_split(manifest: Manifest, split: Split | str | None) -> Split | None:
    """Return how a table is split, its names known; by default as its source is made."""
    if split == "none":
        return None
    if split is None and manifest.split_column is not None:
        split = Split(kind="column", column=manifest.split_column)
    if split is None:
        return None
    return manifest.settled(parse_split(split) if isinstance(split, str) else split)


def check_splits(recipe: Recipe, names: tuple[str, ...]) -> None:
    """Refuse a recipe for a split that the table has not, if it has splits at all."""
    for name, _ in recipe.splits:
        if names not in ((), ("",)) and name not in names:  # no names: a table without rows
            raise PlanError(
                f"the recipe has steps for split {name!r}; the splits are {', '.join(names)}"
            )


def expand(
    manifest: Manifest,
    recipes: dict[str, Recipe],
    split: Split | None,
    limit: int | None,
    on_rows: Callable[[Phase, int], None],
) -> Listed | None:
    """Return what each row gives, or ``None`` if that follows from the number of rows.

    Parameters
    ----------
    manifest
        The table.
    recipes
        By split, in the order of the split's names.
    split
        How rows are split.
    limit
        Samples after which to stop, of all splits.
    on_rows
        Called now and then with what is read, and the number of rows so far.
    """
    by_size = [recipe.by_size for recipe in recipes.values()]
    if split is None and not any(by_size):
        return None
    found = Listed(len(recipes), measured=any(by_size))
    measure = _Measure(manifest, list(recipes.values())) if found.measured else None
    columns = [split.column] if split is not None and split.column else []
    columns += measure.wanted if measure else []
    for cells in manifest.columns_pieces(list(dict.fromkeys(columns))):
        for lines in _lines(cells, split, measure, list(recipes.values())):
            rest = None if limit is None else limit - sum(found.samples)
            found.add(lines if rest is None else _cut(lines, rest))
            found.refused = measure.refused if measure else 0
            on_rows("headers" if measure else "table", found.rows)
            if limit is not None and sum(found.samples) >= limit:
                return found
    return found


_STEP = 1 << 10  # rows measured before it is asked whether the limit is reached


def _lines(
    cells: Cells, split: Split | None, measure: _Measure | None, recipes: list[Recipe]
) -> Iterator[NDArray[Any]]:
    lines = np.zeros(cells.rows, LINE)
    lines["height"] = lines["width"] = -1
    if split is not None:
        texts = cells.columns[split.column] if split.column else None
        lines["group"] = split.assign(cells.row, cells.rows, texts)
    if measure is None:
        parts = np.array([len(recipe.outputs()) for recipe in recipes], np.int32)
        lines["samples"] = parts[lines["group"]]
        yield lines
        return
    sizes = measure.sizes(cells)
    for start in range(0, cells.rows, _STEP):
        piece = lines[start : start + _STEP]
        for line in piece:
            measure.fill(line, next(sizes))
        yield piece


def _cut(lines: NDArray[Any], rest: int) -> NDArray[Any]:
    """Return lines up to the one that reaches ``rest`` samples, and no sample more."""
    total = np.cumsum(lines["samples"], dtype=np.int64)
    last = int(np.searchsorted(total, rest))
    if last == len(lines):
        return lines
    kept = lines[: last + 1].copy()
    kept["samples"][last] -= total[last] - rest
    return kept


class _Measure:
    """Sizes of pictures, from the table's own columns or from headers, and what they give."""

    def __init__(self, manifest: Manifest, recipes: list[Recipe]) -> None:
        self._manifest = manifest
        self._recipes = recipes
        self._options = recipes[0].decode
        self.refused = 0
        self.columns = self._size_columns()
        generation = manifest.generation
        self.wanted = self.columns + ([] if generation is None else [generation])
        self._count: Count = lru_cache(maxsize=_SIZES)(self._counted)

    def _size_columns(self) -> list[str]:
        """Return height and width, if the table has both and no step needs more."""
        names = ["height", "width"]
        by_mode = any(recipe.by_mode for recipe in self._recipes)
        there = set(names) <= set(self._manifest.table.columns)
        return names if there and not by_mode else []

    def sizes(self, cells: Cells) -> Iterator[Size | None]:
        """Yield (height, width, mode) of each row; ``None`` where no header can be read."""
        if self.columns:
            declared = declared_sizes(*(cells.columns[name] for name in self.columns))
            if declared is not None:
                yield from self._declared(cells, declared.tolist())
                return
        if self._recipes[0].decoder is not None:
            what = "modes, and a table does not tell those: leave out modes"
            if not any(recipe.by_mode for recipe in self._recipes):
                what = "sizes: give the table whole-number columns height and width"
            raise PlanError(
                "where a decoder of your own reads pictures, no header is read, and the number "
                f"of samples depends on their {what}"
            )
        yield from self._found(cells)

    def _declared(self, cells: Cells, sizes: list[list[int]]) -> Iterator[Size | None]:
        """Yield sizes as the table has them; what is over the limit is looked at first."""
        for i, (height, width) in enumerate(sizes):
            if self._recipes[0].decoder is None and height * width > self._options.max_pixels:
                yield from self._found(cells.at(i))
            else:
                yield height, width, None

    def _found(self, cells: Cells) -> Iterator[Size | None]:
        """Yield the sizes in headers."""
        if cells.pictures is not None:
            yield from self._held_sizes(cells)
            return
        places = self._places(cells)
        headers = read_headers(places, self._options, self._manifest.extensions)
        for place, header in zip(places, headers, strict=True):
            if isinstance(header, SampleError) and header.reason == "pixels":
                yield self._oversized_at(place)
            else:
                yield None if isinstance(header, SampleError) else header

    def _places(self, cells: Cells) -> list[str]:
        places = [self._manifest.resolve(path) for path in cells.paths.to_pylist()]
        if self._manifest.generation is None:
            return places
        generations = cells.columns[self._manifest.generation].to_pylist()
        return list(map(fetch.pinned, places, generations))

    def _held_sizes(self, cells: Cells) -> Iterator[Size | None]:
        """Yield the sizes of pictures whose bytes are in the table."""
        assert self._manifest.bytes_column is not None and cells.pictures is not None  # noqa: PT018
        for found in read_pictures(cells.pictures, self._manifest.bytes_column):
            content = fetch.limited(found, self._options.max_bytes)
            header = header_of(content, self._options)
            if isinstance(header, SampleError):
                large = header.reason == "pixels" and isinstance(content, bytes)
                yield self._oversized(content) if large else None
            else:
                yield header

    def _oversized_at(self, place: str) -> Size | None:
        try:
            file, _ = fetch.under_extensions(_opened, place, self._manifest.extensions)
        except SampleError:  # it is gone by now
            return None
        with file:
            return self._oversized(file)

    def _oversized(self, source: Any) -> Size | None:
        """Return the size of a picture over the limit, if it can be read by windows."""
        windows = open_windows(source, self._options)
        if windows is None:
            self.refused += 1
            return None
        return windows.height, windows.width, windows.mode

    def fill(self, line: Any, size: Size | None) -> None:
        """Write a row's size and number of samples; one, which will fail, without a size."""
        if size is None:
            line["samples"], line["height"], line["width"] = 1, 0, 0
            return
        height, width, mode = size
        line["height"], line["width"] = height, width
        line["samples"] = self._count(int(line["group"]), height, width, mode)

    def _counted(self, group: int, height: int, width: int, mode: str | None) -> int:
        return self._recipes[group].count(height, width, mode)


def _opened(place: str) -> IO[bytes]:
    try:
        return fetch.open_input(place)
    except FileNotFoundError:
        raise SampleError("missing", "no such file") from None
