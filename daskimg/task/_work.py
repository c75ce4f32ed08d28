"""A shard, from rows to written bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from daskimg import fetch, store
from daskimg.errors import SampleError, StoppedError, StoreError
from daskimg.statistics import ChannelSums, channel_sums
from daskimg.task._alone import KILLED
from daskimg.task._contents import Content, read_contents
from daskimg.task._cores import Cores, OwnCores, share
from daskimg.task._kept import Kept
from daskimg.task._lines import Lines
from daskimg.task._reports import report_of
from daskimg.task._rows import planned_rows
from daskimg.task._samples import make_samples, write_entry_of
from daskimg.timeline import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.decode import Source
    from daskimg.plan import Brief
    from daskimg.task._rows import Planned
    from daskimg.transforms import Sample

    Look = Callable[[NDArray[Any], int], None]


def run_task(
    rows: pd.DataFrame,
    brief: Brief,
    look: Look | None = None,
    rest: Callable[[], object] | None = None,
    cores: Cores | None = None,
    *,
    again: bool = True,
) -> pd.DataFrame:
    """Build one shard and report on it in one line.

    Idempotent: a retry makes the same bytes, and finds them there or puts them; a shard that is
    in the ledger is left alone. Pixels stay here; only the report travels.

    Parameters
    ----------
    rows
        What ``read_shard_rows`` returned.
    brief
        What the run does.
    look
        Shown one sample of a shard that has just been written, and its row.
    rest
        Called when all that is left is to write: another task may have the processor.
    cores
        Those with nothing to do help; by default there is only this thread's.
    again
        Whether it may have been built before, so that the ledger is asked. On a disk it always
        is; of a bucket it costs a request.

    Returns
    -------
    DataFrame
        A line with the columns of ``REPORT``.

    Raises
    ------
    TransportError
        If a source or the store could not be reached: another try may work.
    TransformError
        If a transform raised: a bug, with its row named.
    """
    watch = Stopwatch()
    shard = int(rows["shard"].iloc[0])
    folder = fetch.open_folder(brief.url)
    asked = again or not fetch.is_url(brief.url)
    entry = store.find_entry(folder, shard) if asked else None
    if entry and must_retry(entry, brief):
        entry = None
    resumed = entry is not None
    watch.lap("write")
    if entry is None:
        work = _Work(brief, shard, watch)
        work.fill(rows, cores or OwnCores(1))
        if rest is not None:
            rest()
        entry = work.write(folder)
        if look is not None:
            work.show(look)
    return report_of(entry, resumed, watch)


def must_retry(entry: store.Entry, brief: Brief) -> bool:
    """Tell whether a shard is built again: it is damaged, or files were missing elsewhere.

    Or its entry is that of a straggler of a run whose store was overwritten.
    """
    gone = {"missing", "changed", "unreadable"} & set(entry.reasons)
    mended = entry.shard in brief.repaired or (brief.retry and bool(gone))
    return mended or not entry.is_of(brief.pixels)


_FILES: Kept[Content | SampleError] = Kept()


class _Work:
    """A shard being built: its buffers, and a line of the ledger for each sample."""

    def __init__(self, brief: Brief, shard: int, watch: Stopwatch) -> None:
        self._brief = brief
        self._watch = watch
        self._shard = shard
        self._group = brief.group_of(shard)[1]
        self._start, self._stop = self._group.span(shard)
        count = self._stop - self._start
        self._buffers = {
            spec.name: store.ShardBuffer(spec, self._group.layout, count)
            for spec in self._group.sharded
        }
        self._filled = list(self._buffers.values())
        self._lines = Lines(self._group, self._start, count)
        self._convicted = {row for number, row in brief.convicted if number == shard}

    def fill(self, rows: pd.DataFrame, cores: Cores) -> None:
        """Decode and transform all samples."""
        planned = planned_rows(rows, self._brief)
        self._check_rows(planned)
        if len(planned) == 1 and planned[0].samples > len(self._places(planned[0])):
            self._build((planned[0], self._shared_content(planned[0], rows)), self._watch)
        else:
            contents = read_contents(rows, self._brief, whole=True)
            share(zip(planned, contents, strict=True), cores, self._builder)

    def _builder(self) -> Callable[[tuple[Planned, Content | SampleError]], None]:
        """Return what builds a row's samples in this thread, by a stopwatch of its own."""
        return partial(self._build, watch=self._watch.in_this_thread())

    def write(self, folder: fetch.Folder) -> store.Entry:
        """Put the objects, then their entry of the ledger."""
        claim = store.Claim(folder, self._brief.run)
        objects, sums = self._put(claim)
        self._watch.lap("write")
        entry = self._entry(objects, sums)
        self._watch.lap("transform")
        content = store.write_entry(claim, entry, self._lines.table())
        store.SHELF.keep(self._brief.call, self._shard, content)
        self._watch.lap("write")
        return entry

    def show(self, look: Look) -> None:
        """Show the first good sample, if there is one, and its row."""
        if store.OK in self._lines.status:
            first = self._lines.status.index(store.OK)
            look(self._buffers["image"].slot(first), self._lines.row[first])

    def _check_rows(self, planned: list[Planned]) -> None:
        """Refuse rows that do not fill the shard, each slot once and in order."""
        at = self._start
        for each in planned:
            places = self._places(each)
            if places.start != at:
                break
            at = places.stop
        if at != self._stop:
            raise StoreError(f"shard {self._shard} was handed other rows than its own")

    def _shared_content(self, each: Planned, rows: pd.DataFrame) -> Content | SampleError:
        """Return the file of a row that fills this shard, and others: read once a process."""

        def read() -> Content | SampleError:
            return next(read_contents(rows, self._brief))

        key = self._brief.run, self._brief.call, each.row.number
        return _FILES.get(key, read, len(self._places(each)), each.samples)

    def _places(self, each: Planned) -> range:
        return range(max(each.first, self._start), min(each.places.stop, self._stop))

    def _build(self, row: tuple[Planned, Content | SampleError], watch: Stopwatch) -> None:
        each, content = row
        watch.lap("fetch")
        places = self._places(each)
        if isinstance(content, SampleError):
            self._lines.failed(places, each, content)
            return
        self._lines.source(places, each, content)
        if each.row.number in self._convicted:
            self._lines.failed(places, each, KILLED)
            return
        try:
            parts = range(places.start - each.first, places.stop - each.first)
            samples, source = make_samples(
                self._brief, self._group, each, content, parts, watch.lap
            )
        except SampleError as error:
            self._lines.failed(places, each, error)
            watch.lap("decode")
            return
        for place, sample in zip(places, samples, strict=True):
            self._fill(place, each, sample, source)
        watch.lap("transform")

    def _fill(
        self, place: int, each: Planned, sample: Sample | SampleError, source: Source
    ) -> None:
        if isinstance(sample, SampleError):
            self._lines.failed(range(place, place + 1), each, sample, source)
            return
        slots = [(buffer.spec, buffer.slot(place - self._start)) for buffer in self._filled]
        try:
            for spec, slot in slots:
                write_entry_of(sample, spec, slot)
        except SampleError as error:  # pixels that are read when they are asked for
            for _, slot in slots:
                slot[...] = 0
            self._lines.failed(range(place, place + 1), each, error, source)
        else:
            self._lines.made(place, each, sample, source)

    def _put(self, claim: store.Claim) -> tuple[dict[str, tuple[int, str]], dict[str, str]]:
        """Put the objects; return bytes and sha256, and the crc32c, of each by name."""
        expected = dict(self._brief.expected)
        objects, sums = {}, {}
        index = self._shard - self._group.first_shard
        for spec in self._group.sharded:
            path = self._group.path(spec.name)
            name = store.chunk_name(path, index, 1 + len(spec.shape))
            content = self._buffers[spec.name].finish()
            size, digest = store.stamp(content)
            if expected.get(name, digest) != digest:
                raise StoppedError(
                    f"{name} comes out otherwise than it was committed: its sources have changed "
                    f"or are gone; bring them back and run the same command again, or build anew "
                    f"from those there are with --overwrite"
                )
            claim.put(name, content)
            objects[name] = size, digest
            sums[name] = store.checksum(content)
        return objects, sums

    def _entry(self, objects: dict[str, tuple[int, str]], crc32c: dict[str, str]) -> store.Entry:
        reasons = Counter(reason for reason in self._lines.reason if reason)
        failed = sum(reasons.values())
        return store.Entry(
            shard=self._shard,
            samples=self._stop - self._start,
            failed=failed,
            reduced=self._lines.reduced,
            completed=self._lines.completed,
            source_bytes=self._lines.read_bytes,
            reasons=dict(sorted(reasons.items())),
            objects=objects,
            sums=self._sums(failed).to_json(),
            crc32c=crc32c,
            pixels=self._brief.pixels,
        )

    def _sums(self, failed: int) -> ChannelSums:
        """Return the sums of the good samples: the failed ones' zeros add only to the count."""
        chunks = self._buffers["image"].chunks()
        total = None
        for chunk in chunks:
            sums = channel_sums(chunk, compiled=self._brief.compiled)
            total = sums if total is None else total + sums
        assert total is not None
        height, width, _ = self._group.arrays[0].shape
        return replace(total, count=total.count - failed * height * width)
