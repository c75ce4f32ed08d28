"""``python -m daskimg.run``: the main job, from a command line to a store, and what it says."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskimg import usage
from daskimg.arguments import (
    cluster_options_of,
    main_job,
    manifest_of,
    recipe_of,
    run_options_of,
    store_options_of,
)
from daskimg.errors import DaskimgError, StoppedError
from daskimg.exits import (
    COMMITTED,
    REFUSED,
    STOPPED,
    STOPPED_LINE,
    TOO_MANY_FAILED,
    Interrupted,
    call,
    exit_of,
    line_of,
    print_traceback,
)

# What is heavy is imported where it is used: worker processes import this module too.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from daskimg.build import ClusterOptions, Report, Standing, Tally
    from daskimg.plan import Plan
    from daskimg.progress import Reading, Watcher

__all__ = ["COMMITTED", "REFUSED", "STOPPED", "TOO_MANY_FAILED", "command", "main"]


@click.command(
    "run",
    cls=usage.Sectioned,
    epilog=usage.RUN,
    short_help="Build a store, or finish, repair or relabel it.",
)
@main_job
def command(**given: Any) -> int:
    """Turn a table of pictures into an ordered, fixed-size, resumable Zarr store.

    MANIFEST is a CSV, TSV, JSON-lines or Parquet table (a file, a glob, a folder or a URL), a
    folder of class folders, or a glob of pictures. STORE is a folder or a URL. Running the
    same command again finishes what was begun, and checks what is finished.
    """
    return _Command(given).run()


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
            return self._failed(StoppedError(f"{STOPPED_LINE}{self._progress()}"), STOPPED)

    def _run(self) -> int:
        from daskimg.build import standing_of
        from daskimg.plan import plan_store

        given = self._given
        self._check_pages()
        cluster = cluster_options_of(given)
        standing = standing_of(given["store"], overwrite=given["overwrite"])
        packing, options = store_options_of(given), run_options_of(given)
        with _reading(self._loud and not given["as_json"]) as on_rows:
            plan = plan_store(
                manifest_of(given),
                given["store"],
                recipe_of(given),
                split=given["split"],
                limit=given["limit"],
                stored_rows=standing.stored.rows if standing.stored else None,
                on_rows=on_rows,
                store=packing,
                options=options,
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
            print_traceback()
        told = line_of(error)
        self._error(told)
        if self._given["as_json"]:
            click.echo(json.dumps({"outcome": "error", "error": told, "exit": code}))
        return code


def _reading(loud: bool) -> AbstractContextManager[Reading | None]:
    from daskimg.progress import Reading

    return Reading() if loud else nullcontext()


def _watcher(loud: bool, total: int) -> Watcher:
    from daskimg.progress import Watcher, watcher

    return watcher(total) if loud else Watcher()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return call(command, argv, "python -m daskimg.run")


if __name__ == "__main__":
    sys.exit(main())
