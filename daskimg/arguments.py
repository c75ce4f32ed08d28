"""What a command line takes, and the table, recipe, packing and cluster that it names.

The main job has all of these; the tools around it have some. What is heavy is imported where it
is used: ``--help`` shows no picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daskimg import usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskimg.build import ClusterOptions
    from daskimg.manifest import Manifest
    from daskimg.options import RunOptions, StoreOptions
    from daskimg.recipe import Recipe

Function = TypeVar("Function", bound="Callable[..., Any]")


class _Pair(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Two whole numbers with a sign between them; one alone stands for both where it may."""

    sign = ""
    alone = False
    advice = ""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return both."""
        if isinstance(value, tuple):
            return value
        first, found, second = str(value).lower().partition(self.sign)
        try:
            return int(first), int(second if found or not self.alone else first)
        except ValueError:
            self.fail(f"{value!r} {self.advice}", param, ctx)


class Size(_Pair):
    """A height and a width: ``64`` or ``48x64``."""

    name, sign, alone = "N|HxW", "x", True
    advice = "is no size; try 64, or 48x64 for height x width"


class Bounds(_Pair):
    """The least and the most of something: ``1:8``."""

    name, sign = "MIN:MAX", ":"
    advice = "are no bounds; try 1:8"


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


MAIN_JOB: tuple[Callable[[Any], Any], ...] = (
    click.argument("manifest", type=usage.FILE),
    click.argument("store", type=usage.FILE),
    click.option(
        "--source",
        metavar="KIND",
        type=usage.Words(
            ["csv", "tsv", "jsonl", "parquet", "folder", "glob", "tiny-imagenet", "mpii"]
        ),
        help="csv, tsv, jsonl, parquet, folder, glob, tiny-imagenet or mpii.",
    ),
    click.option("--path-column", metavar="C", help="Column of paths or of picture bytes."),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="NAME[:KIND]",
        help="Label column; kind class, int, float or multi. Repeatable: the first becomes "
        "`label`.",
    ),
    click.option(
        "--classes",
        type=usage.FILE,
        metavar="FILE|STORE",
        help="Class names, in order: a file or a store.",
    ),
    click.option(
        "--unknown-classes",
        type=click.Choice(["refuse", "none"]),
        default="refuse",
        help="A name that is not in --classes: refuse the table, or write -1.",
    ),
    click.option(
        "--key", metavar="C", help="Column that names a row. Default: path and occurrence."
    ),
    click.option(
        "--root", type=usage.FILE, metavar="URL", help="What relative paths are relative to."
    ),
    click.option(
        "--extension",
        "extensions",
        multiple=True,
        metavar=".EXT",
        help="Tried behind a path that names no file. Repeatable.",
    ),
    click.option(
        "--split",
        metavar="every:K|hash:COLUMN:0.8,0.1,0.1|column:NAME|none",
        help="Split the rows; by default as the source is made, else not.",
    ),
    click.option("--mask", metavar="C", help="Column of masks: pictures that go along."),
    click.option(
        "--limit", type=click.IntRange(1), metavar="N", help="Take the first N samples only."
    ),
    click.option(
        "--recipe",
        type=usage.RECIPES,
        default="resize",
        metavar="NAME|FILE.toml",
        show_default=True,
        help="resize, center-crop, tiles, pose ... or a TOML file.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="T.FIELD=VALUE",
        help="Change a field of a step, of `mask`, or of `decode`. Repeatable.",
    ),
    click.option(
        "--size",
        type=Size(),
        metavar="N|HxW",
        help="Height and width of the images, instead of the recipe's.",
    ),
    click.option("--channels", type=click.Choice(["1", "3"]), help="Grey or RGB."),
    click.option(
        "--dtype",
        type=usage.Words(["uint8", "uint16", "float32"]),
        metavar="T",
        help="uint8, uint16 or float32: what 16-bit sources keep.",
    ),
    click.option("--seed", type=int, default=None, metavar="N", help="Key of all randomness."),
    click.option(
        "--exact-decode",
        is_flag=True,
        help="Decode every pixel; by default JPEGs are decoded at twice the size needed "
        "or more, up to twice as fast.",
    ),
    click.option(
        "--max-pixels",
        type=int,
        metavar="N",
        help="Refuse pictures of more pixels. Default: Pillow's 178956970.",
    ),
    click.option("--shard-samples", type=int, metavar="N", help="Samples per shard: one object."),
    click.option(
        "--chunk-samples", type=int, metavar="N", help="Samples per chunk: a reader's unit."
    ),
    click.option(
        "--codec",
        type=usage.Words(["none", "lz4", "zstd"]),
        default="none",
        metavar="none|lz4|zstd",
        show_default=True,
        help="Compression; photographs gain 6 to 20 %.",
    ),
    click.option(
        "--overwrite", is_flag=True, help="Delete the daskimg store that is there first."
    ),
    click.option(
        "--max-failed",
        type=float,
        default=0.01,
        metavar="FRACTION",
        show_default=True,
        help="Commit if no more than this fraction of the samples failed.",
    ),
    click.option(
        "--scheduler",
        type=usage.FILE,
        metavar="ADDRESS|FILE",
        envvar="DASK_SCHEDULER_ADDRESS",
        help="A Dask scheduler; by default a local cluster is started.",
    ),
    click.option(
        "--tls-ca",
        type=usage.FILE,
        metavar="FILE",
        help="Whose certificates a tls:// scheduler may have.",
    ),
    click.option(
        "--tls-cert",
        type=usage.FILE,
        metavar="FILE",
        help="This client's certificate, for tls://.",
    ),
    click.option("--tls-key", type=usage.FILE, metavar="FILE", help="Its key."),
    click.option(
        "--wait-workers",
        "wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        show_default=True,
        help="For a cluster without workers; then exit 3.",
    ),
    storage_option,
    click.option(
        "--max-requests-per-second",
        type=click.IntRange(1),
        metavar="N",
        expose_value=False,
        callback=_use_rate,
        help="Of all workers together. By default what a new bucket bears: 4000 reads and "
        "800 writes, twice as many every 20 minutes.",
    ),
    click.option(
        "--workers", type=int, metavar="N", help="Worker processes of the local cluster."
    ),
    click.option(
        "--adaptive", type=Bounds(), help="Worker processes, as many as there is work for."
    ),
    click.option("--threads", type=int, metavar="N", help="Threads of each worker process."),
    click.option("--memory-limit", default="auto", metavar="M", help="Of each worker, like 2GB."),
    click.option(
        "--report",
        type=usage.FILE,
        metavar="FILE.html",
        help="Write a page about the run and its store.",
    ),
    click.option("--private", is_flag=True, help="Leave pictures and paths out of --report."),
    click.option(
        "--performance-report",
        "performance",
        type=usage.FILE,
        metavar="FILE.html",
        help="Write Dask's own report: tasks, bandwidths, profiles.",
    ),
    click.option(
        "--price",
        "prices",
        multiple=True,
        metavar="NAME=AMOUNT",
        help="For --dry-run: class-a or class-b (10,000 requests), read-gb, stored-gb (a month). "
        "Repeatable.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Print the plan and try 100 rows; write nothing."
    ),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
"""The arguments and options of the main job, in the order in which ``--help`` tells of them."""


def main_job(function: Function) -> Function:
    """Have a function take the arguments and options of the main job."""
    for option in reversed(MAIN_JOB):
        function = option(function)
    return function


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


def store_options_of(given: dict[str, Any]) -> StoreOptions:
    """Return how a command line packs samples."""
    from daskimg.options import StoreOptions

    names = ("shard_samples", "chunk_samples", "codec")
    return StoreOptions(**{name: given[name] for name in names})


def run_options_of(given: dict[str, Any]) -> RunOptions:
    """Return what a command line puts up with."""
    from daskimg.options import RunOptions

    return RunOptions(max_failed=given["max_failed"], overwrite=given["overwrite"])


def cluster_options_of(given: dict[str, Any]) -> ClusterOptions:
    """Return where a command line runs."""
    from daskimg.build import ClusterOptions

    names = (
        "scheduler", "workers", "threads", "memory_limit", "adaptive",
        "tls_ca", "tls_cert", "tls_key", "wait", "performance",
    )  # fmt: skip
    return ClusterOptions(**{name: given[name] for name in names})
