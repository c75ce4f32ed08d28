"""``python -m daskimg.run``: words, exit codes and the progress bar of the main job.

Exit: 0 committed; 1 finished, but more than --max-failed failed; 2 refused, nothing written;
3 stopped by a fault, a bug or a signal, resumable.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from _thread import interrupt_main
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daskimg import usage
from daskimg.errors import (
    AccessError,
    DaskimgError,
    StoppedError,
    TransformError,
    TransportError,
)

# What is heavy is imported where it is used: worker processes import this module too.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import FrameType

    from distributed import Client

    from daskimg.build import ClusterOptions, Report, Standing, Tally
    from daskimg.manifest import Manifest
    from daskimg.plan import Plan
    from daskimg.progress import Reading, Watcher
    from daskimg.recipe import Recipe

COMMITTED, TOO_MANY_FAILED, REFUSED, STOPPED = 0, 1, 2, 3

_STOPPED_LINE = "stopped by a signal; run the same command again to go on"
_GRACE = 3.0  # seconds that a stopped run takes to close its cluster before it just ends


class Interrupted(BaseException):
    """A signal asked the run to stop; no ``except Exception`` on its way may keep it."""


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A height and a width: ``64`` or ``48x64``."""

    name = "N|HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (height, width)."""
        if isinstance(value, tuple):
            return value
        height, x, width = str(value).lower().partition("x")
        try:
            return int(height), int(width if x else height)
        except ValueError:
            self.fail(f"{value!r} is no size; try 64, or 48x64 for height x width", param, ctx)


class Bounds(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """The least and the most of something: ``1:8``."""

    name = "MIN:MAX"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (least, most)."""
        if isinstance(value, tuple):
            return value
        least, _, most = str(value).partition(":")
        try:
            return int(least), int(most)
        except ValueError:
            self.fail(f"{value!r} are no bounds; try 1:8", param, ctx)


def storage_option(function: Any) -> Any:
    """Let a command take storage options; they hold while it runs, and are shown nowhere."""
    return click.option(
        "--storage-option", metavar="SCHEME.NAME=VALUE", multiple=True, expose_value=False,
        callback=_use_storage, help="What fsspec takes, as gs.token=anon; secrets are better "
        "kept in DASKIMG_STORAGE, which other users of the machine cannot list. Repeatable.",
    )(function)  # fmt: skip


def _use_storage(context: click.Context, _: click.Parameter, words: tuple[str, ...]) -> None:
    if words:
        from daskimg import fetch

        _use(context, storage=fetch.parse_storage(words))


def _use_rate(context: click.Context, _: click.Parameter, rate: int | None) -> None:
    if rate is not None:
        _use(context, requests_per_second=rate)


def _use(context: click.Context, **given: Any) -> None:
    """Have options of requests hold for as long as a command runs."""
    from daskimg import fetch

    context.with_resource(fetch.using(fetch.configured().changed(given)))


@click.command(
    "run",
    cls=usage.Sectioned,
    epilog=usage.RUN,
    short_help="Build a store, or finish, repair or relabel it.",
)
@click.argument("manifest", type=usage.FILE)
@click.argument("store", type=usage.FILE)
@click.option(
    "--source",
    metavar="KIND",
    type=usage.Words(
        ["csv", "tsv", "jsonl", "parquet", "folder", "glob", "tiny-imagenet", "mpii"]
    ),
    help="csv, tsv, jsonl, parquet, folder, glob, tiny-imagenet or mpii.",
)
@click.option("--path-column", metavar="C", help="Column of paths or of picture bytes.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME[:KIND]",
    help="Label column; kind class, int, float or multi. Repeatable: the first becomes `label`.",
)  # fmt: skip
@click.option(
    "--classes",
    type=usage.FILE,
    metavar="FILE|STORE",
    help="Class names, in order: a file or a store.",
)
@click.option(
    "--unknown-classes", type=click.Choice(["refuse", "none"]), default="refuse",
    help="A name that is not in --classes: refuse the table, or write -1.",
)  # fmt: skip
@click.option("--key", metavar="C", help="Column that names a row. Default: path and occurrence.")
@click.option(
    "--root", type=usage.FILE, metavar="URL", help="What relative paths are relative to."
)
@click.option(
    "--extension", "extensions", multiple=True, metavar=".EXT",
    help="Tried behind a path that names no file. Repeatable.",
)  # fmt: skip
@click.option(
    "--split", metavar="every:K|hash:COLUMN:0.8,0.1,0.1|column:NAME|none",
    help="Split the rows; by default as the source is made, else not.",
)  # fmt: skip
@click.option("--mask", metavar="C", help="Column of masks: pictures that go along.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Take the first N samples only."
)
@click.option("--recipe", type=usage.RECIPES, default="resize", metavar="NAME|FILE.toml",
              show_default=True,
              help="resize, center-crop, tiles, pose ... or a TOML file.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="T.FIELD=VALUE",
              help="Change a field of a step, of `mask`, or of `decode`. Repeatable.")  # fmt: skip
@click.option("--size", type=Size(), metavar="N|HxW",
              help="Height and width of the images, instead of the recipe's.")  # fmt: skip
@click.option("--channels", type=click.Choice(["1", "3"]), help="Grey or RGB.")
@click.option(
    "--dtype",
    type=usage.Words(["uint8", "uint16", "float32"]),
    metavar="T",
    help="uint8, uint16 or float32: what 16-bit sources keep.",
)
@click.option("--seed", type=int, default=None, metavar="N", help="Key of all randomness.")
@click.option("--exact-decode", is_flag=True,
              help="Decode every pixel; by default JPEGs are decoded at twice the size needed "
              "or more, up to twice as fast.")  # fmt: skip
@click.option("--max-pixels", type=int, metavar="N",
              help="Refuse pictures of more pixels. Default: Pillow's 178956970.")  # fmt: skip
@click.option("--shard-samples", type=int, metavar="N", help="Samples per shard: one object.")
@click.option("--chunk-samples", type=int, metavar="N", help="Samples per chunk: a reader's unit.")
@click.option("--codec", type=usage.Words(["none", "lz4", "zstd"]), default="none",
              metavar="none|lz4|zstd", show_default=True,
              help="Compression; photographs gain 6 to 20 %.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Delete the daskimg store that is there first.")
@click.option("--max-failed", type=float, default=0.01, metavar="FRACTION", show_default=True,
              help="Commit if no more than this fraction of the samples failed.")  # fmt: skip
@click.option("--scheduler", type=usage.FILE, metavar="ADDRESS|FILE",
              envvar="DASK_SCHEDULER_ADDRESS",
              help="A Dask scheduler; by default a local cluster is started.")  # fmt: skip
@click.option(
    "--tls-ca",
    type=usage.FILE,
    metavar="FILE",
    help="Whose certificates a tls:// scheduler may have.",
)
@click.option(
    "--tls-cert", type=usage.FILE, metavar="FILE", help="This client's certificate, for tls://."
)
@click.option("--tls-key", type=usage.FILE, metavar="FILE", help="Its key.")
@click.option("--wait-workers", "wait", type=float, default=300.0, metavar="SECONDS",
              show_default=True, help="For a cluster without workers; then exit 3.")  # fmt: skip
@storage_option
@click.option("--max-requests-per-second", type=click.IntRange(1), metavar="N",
              expose_value=False, callback=_use_rate,
              help="Of all workers together. By default what a new bucket bears: 4000 reads and "
              "800 writes, twice as many every 20 minutes.")  # fmt: skip
@click.option("--workers", type=int, metavar="N", help="Worker processes of the local cluster.")
@click.option("--adaptive", type=Bounds(), help="Worker processes, as many as there is work for.")
@click.option("--threads", type=int, metavar="N", help="Threads of each worker process.")
@click.option("--memory-limit", default="auto", metavar="M", help="Of each worker, like 2GB.")
@click.option(
    "--report",
    type=usage.FILE,
    metavar="FILE.html",
    help="Write a page about the run and its store.",
)
@click.option("--private", is_flag=True, help="Leave pictures and paths out of --report.")
@click.option("--performance-report", "performance", type=usage.FILE, metavar="FILE.html",
              help="Write Dask's own report: tasks, bandwidths, profiles.")  # fmt: skip
@click.option(
    "--price", "prices", multiple=True, metavar="NAME=AMOUNT",
    help="For --dry-run: class-a or class-b (10,000 requests), read-gb, stored-gb (a month). "
    "Repeatable.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the plan and try 100 rows; write nothing.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(**given: Any) -> int:
    """Turn a table of pictures into an ordered, fixed-size, resumable Zarr store.

    MANIFEST is a CSV, TSV, JSON-lines or Parquet table (a file, a glob, a folder or a URL), a
    folder of class folders, or a glob of pictures. STORE is a folder or a URL. Running the
    same command again finishes what was begun, and checks what is finished.
    """
    return _Command(given).run()


def manifest_of(given: dict[str, Any]) -> Manifest:
    """Return the table that a command line names; other commands have these options, too."""
    from daskimg.manifest import read_manifest

    return read_manifest(
        given["manifest"],
        kind=given["source"],
        path=given["path_column"],
        labels=given["labels"],
        classes=given["classes"],
        unknown=given["unknown_classes"],
        key=given["key"],
        root=given["root"],
        extensions=given["extensions"],
    )


def recipe_of(given: dict[str, Any]) -> Recipe:
    """Return the recipe that a command line names, with what it changes."""
    from daskimg.recipes import adjusted, masked, read_recipe

    recipe = read_recipe(given["recipe"], given["size"])
    if given["mask"]:
        recipe = masked(recipe, given["mask"])
    recipe = adjusted(recipe, given["settings"])
    if given["seed"] is not None:
        recipe = replace(recipe, seed=given["seed"])
    decode = {name: given[name] for name in ("dtype", "max_pixels") if given[name] is not None}
    if given["channels"]:
        decode["channels"] = int(given["channels"])
    if given["exact_decode"]:
        decode["exact"] = True
    return recipe.changed(**decode)


class _Command:
    """One call of the command line."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._loud = not given["quiet"]
        self._tally: Tally | None = None

    def run(self) -> int:
        try:
            return self._run()
        except DaskimgError as error:
            return self._failed(error, exit_of(error))
        except Interrupted:
            return self._failed(StoppedError(f"{_STOPPED_LINE}{self._progress()}"), STOPPED)

    def _run(self) -> int:
        from daskimg.build import standing_of
        from daskimg.plan import plan_store

        given = self._given
        self._check_pages()
        cluster = self._cluster()
        standing = standing_of(given["store"], overwrite=given["overwrite"])
        options = self._store_options()
        with _reading(self._loud and not given["as_json"]) as on_rows:
            plan = plan_store(
                manifest_of(given),
                given["store"],
                recipe_of(given),
                split=given["split"],
                limit=given["limit"],
                stored_rows=standing.stored.rows if standing.stored else None,
                on_rows=on_rows,
                **options,
            )
        if given["dry_run"]:
            return self._dry_run(plan, standing, cluster)
        deletion = standing.deletion()
        if deletion:
            self._say(f"overwriting {deletion}")
        return self._build(plan, cluster)

    def _check_pages(self) -> None:
        """Refuse pages that could not be written, before anything is done."""
        pages = [self._given[name] for name in ("report", "performance") if self._given[name]]
        if pages:
            from daskimg.report import html_path

            for page in pages:
                html_path(page)

    def _save(self, report: Report) -> None:
        """Write the page; the store is there, whatever becomes of it."""
        from daskimg.fetch import scrubbed

        page, performance = self._given["report"], self._given["performance"]
        beside = os.path.relpath(performance, Path(page).parent) if performance else ""
        typed = click.get_current_context().obj or []
        try:
            report.save(
                page,
                private=self._given["private"],
                command=shlex.join(map(scrubbed, typed)),
                performance=beside,
            )
        except OSError as error:
            raise StoppedError(f"{page} could not be written: {error}") from error
        self._say(f"report: {page}")

    def _store_options(self) -> dict[str, Any]:
        from daskimg.options import RunOptions, StoreOptions

        given = self._given
        packing = StoreOptions(
            shard_samples=given["shard_samples"],
            chunk_samples=given["chunk_samples"],
            codec=given["codec"],
        )
        options = RunOptions(max_failed=given["max_failed"], overwrite=given["overwrite"])
        return {"store": packing, "options": options}

    def _cluster(self) -> ClusterOptions:
        from daskimg.build import ClusterOptions

        given = self._given
        names = (
            "scheduler", "workers", "threads", "memory_limit", "adaptive",
            "tls_ca", "tls_cert", "tls_key", "wait", "performance",
        )  # fmt: skip
        return ClusterOptions(**{name: given[name] for name in names})

    def _build(self, plan: Plan, cluster: ClusterOptions) -> int:
        from daskimg.build import build_store, page_of

        with _watcher(self._loud, plan.samples) as watcher:

            def begin(client: Client) -> None:
                for name, text in plan.lines():
                    if name == "note":
                        self._say(f"note: {text}")
                self._say(f"dashboard: {client.dashboard_link}")
                page = page_of(client)
                if page:
                    self._say(f"this run:  {page}")
                watcher.start()

            def count(tally: Tally) -> None:
                self._tally = tally
                watcher(tally)

            report = build_store(
                plan, cluster=cluster, on_tally=count, on_client=begin, on_note=self._say
            )
        return self._finished(report, plan)

    def _finished(self, report: Report, plan: Plan) -> int:
        code = COMMITTED if report.committed else TOO_MANY_FAILED
        if self._given["as_json"]:
            click.echo(json.dumps({**report.to_json(), "exit": code}))
        elif self._loud:
            click.echo("\n".join(report.lines()))
        if self._given["report"]:
            self._save(report)
        if not report.committed:
            share = report.failed / report.samples
            self._error(
                f"{report.failed:,} of {report.samples:,} samples failed, more than --max-failed "
                f"{plan.options.max_failed:g}: not committed; run again with --max-failed "
                f"{min(1.0, share * 1.01 + 0.0001):.4f} to commit without redoing work"
            )
        return code

    def _dry_run(self, plan: Plan, standing: Standing, cluster: ClusterOptions) -> int:
        from daskimg.build import forecast
        from daskimg.plan import parse_prices

        found = forecast(plan, standing, cluster, parse_prices(self._given["prices"]))
        if self._given["as_json"]:
            click.echo(json.dumps({**found.to_json(), "exit": COMMITTED}))
        else:
            click.echo("\n".join(f"{name:>14}  {text}" for name, text in found.lines()))
        return COMMITTED

    def _progress(self) -> str:
        tally = self._tally
        return f" ({tally.done:,} of {tally.total:,} samples are finished)" if tally else ""

    def _say(self, line: str) -> None:
        if self._loud:
            click.echo(line, err=True)

    def _error(self, line: str) -> None:
        click.echo(f"daskimg: {line}", err=True)

    def _failed(self, error: DaskimgError, code: int) -> int:
        if self._given["debug"]:
            _print_traceback()
        told = _scrubbed(error)
        self._error(told)
        if self._given["as_json"]:
            click.echo(json.dumps({"outcome": "error", "error": told, "exit": code}))
        return code


def _scrubbed(error: BaseException) -> str:
    """Return what an error says, without what is secret in addresses."""
    from daskimg.fetch import scrubbed

    return scrubbed(str(error))


def _print_traceback() -> None:
    from daskimg.fetch import scrubbed

    click.echo(scrubbed(traceback.format_exc()), err=True, nl=False)


def exit_of(error: DaskimgError) -> int:
    """Return 3 for what another try may get over, 2 for what it will not."""
    resumable = isinstance(error, StoppedError | TransportError | TransformError)
    refused = isinstance(error, AccessError)
    return STOPPED if resumable and not refused else REFUSED


def _reading(loud: bool) -> AbstractContextManager[Reading | None]:
    from daskimg.progress import Reading

    return Reading() if loud else nullcontext()


def _watcher(loud: bool, total: int) -> Watcher:
    from daskimg.progress import Watcher, watcher

    return watcher(total) if loud else Watcher()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return call(command, argv, "python -m daskimg.run")


def call(entry: click.Command, argv: Sequence[str] | None, name: str) -> int:
    """Call a click command: errors of usage are one line and exit 2, signals exit 3."""
    # What is left goes with the process, and need not be looked through for garbage: 0.3 s.
    atexit.register(gc.freeze)
    # Another run has the port of the dashboard: any other does, and its address is told.
    warnings.filterwarnings("ignore", r"Port \d+ is already in use", UserWarning)
    typed = [*name.split(), *(sys.argv[1:] if argv is None else argv)]
    with _Signals() as signals:
        try:
            code = entry.main(args=argv, prog_name=name, standalone_mode=False, obj=typed)
        except click.ClickException as error:
            line = " ".join(error.format_message().split())
            click.echo(f"daskimg: {line}", err=True)
            return REFUSED
        except DaskimgError as error:
            if "--debug" in (argv if argv is not None else sys.argv):
                _print_traceback()
            click.echo(f"daskimg: {_scrubbed(error)}", err=True)
            return exit_of(error)
        except SystemExit as error:  # click's own: nobody reads what we print any more
            return int(error.code or 0)
        except BaseException as error:  # also what a cluster says that was stopped in its tracks
            if "--debug" in (argv if argv is not None else sys.argv):
                _print_traceback()
            unexpected = f"{type(error).__name__}: {_scrubbed(error)} (--debug shows where)"
            click.echo(f"daskimg: {_STOPPED_LINE if signals.stopped else unexpected}", err=True)
            return STOPPED
    return int(code or 0)


class _Signals:
    """Lets SIGINT and SIGTERM stop a run at shard grain, within seconds, without a traceback."""

    def __init__(self) -> None:
        self.stopped = False
        self._lost = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._hook

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        if self.stopped and not self._lost:
            _end()  # asked twice
        if not self.stopped:
            # Closing a cluster may take longer than people wait. Workers die with this
            # process, and a shard that was being written is one temporary file.
            timer = threading.Timer(_GRACE, _end)
            timer.daemon = True
            timer.start()
        self.stopped, self._lost = True, False
        raise Interrupted

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise once more what came while a callback ran from which nothing can be raised."""
        if unraisable.exc_type is Interrupted:
            self._lost = True
            threading.Timer(0.01, lambda: interrupt_main(signal.SIGINT)).start()
        else:
            self._hook(unraisable)


def _end(*_: Any) -> NoReturn:
    os.write(2, f"daskimg: {_STOPPED_LINE}\n".encode())
    os._exit(STOPPED)


if __name__ == "__main__":
    sys.exit(main())
