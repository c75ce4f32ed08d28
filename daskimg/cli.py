"""The ``daskimg`` command: the main job and the tools around it."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from daskimg import usage
from daskimg.arguments import Size, manifest_of, recipe_of, storage_option
from daskimg.errors import SampleError
from daskimg.exits import COMMITTED, REFUSED, TOO_MANY_FAILED, call
from daskimg.run import command
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskimg.export import Format
    from daskimg.preview import Comparison, Preview


@click.group(
    epilog=usage.GROUP, invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]..."
)
@click.version_option(package_name="daskimg")
@click.pass_context
def group(context: click.Context) -> int:
    """Turn a table of image paths into ordered training arrays in Zarr, and look at them."""
    if context.invoked_subcommand is None:  # click would make an error of it, in one line
        click.echo(context.get_help(), err=True)
        return REFUSED
    return COMMITTED  # of no meaning: it is the command's status that counts


group.add_command(command)

_PLAN_ONLY = {"dry_run", "quiet"}


@group.command(
    "plan",
    cls=usage.Sectioned,
    epilog=usage.PLAN,
    short_help="Say what a run would do, and try 100 rows.",
    params=[option for option in command.params if option.name not in _PLAN_ONLY],
)
def plan(**given: Any) -> int:
    """Print what a run would do, and try 100 rows; nothing is written."""
    assert command.callback is not None
    code: int = command.callback(**given, dry_run=True, quiet=False)
    return code


_PREVIEW = {
    "manifest", "source", "path_column", "labels", "classes", "unknown_classes", "key", "root",
    "extensions", "split", "mask", "settings", "size", "channels", "dtype", "seed",
    "exact_decode", "max_pixels", "storage_option", "debug",
}  # fmt: skip
"""The options of a run that say what the table is, and what is done to a row of it."""


@group.command(
    "preview",
    params=[option for option in command.params if option.name in _PREVIEW],
    cls=usage.Sectioned,
    epilog=usage.PREVIEW,
    short_help="Draw what recipes make of rows of a table.",
)
@click.argument("picture", type=usage.FILE, metavar="[OUT.png]", required=False)
@click.option("-o", "--output", type=usage.FILE, metavar="OUT.png", help="The same as OUT.png.")
@click.option("--recipe", "recipes", type=usage.RECIPES, multiple=True, metavar="NAME|FILE.toml",
              help="Repeatable: several are drawn side by side. Default: resize.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=6, metavar="N", show_default=True,
              help="The first N rows of the table.")  # fmt: skip
@click.option("--row", "numbers", type=click.IntRange(0), multiple=True, metavar="N",
              help="This row, from 0, with more of it. Repeatable: these rows.")  # fmt: skip
def preview(
    picture: str | None, output: str | None, recipes: tuple[str, ...], rows: int,
    numbers: tuple[int, ...], **given: Any,
) -> int:  # fmt: skip
    """Draw what recipes make of rows of MANIFEST, before anything is built.

    A line a row, a column a step (of several recipes: two columns a recipe). Outlines on the
    source show what is taken of it; failures stand where their pictures would. With
    one --row and one recipe each step has a line of its own, with its samples, joints, masks
    and heatmaps. Without OUT.png it is said in words only.
    """
    from daskimg.preview import png_path, preview_row, preview_rows

    place = picture or output
    if place is not None:
        png_path(place)  # before anything is read
    manifest, split = manifest_of(given), given["split"]
    named = {name: recipe_of({**given, "recipe": name}) for name in recipes or ("resize",)}
    found: Preview | Comparison
    try:
        if len(numbers) == 1 and len(named) == 1:
            (recipe,) = named.values()
            found = preview_row(manifest, recipe, row=numbers[0], split=split)
        else:
            found = preview_rows(manifest, named, rows=numbers or rows, split=split)
    except SampleError as error:
        click.echo(f"daskimg: {error}", err=True)
        return TOO_MANY_FAILED
    if place is not None:
        found.save(place)
    click.echo(found.text())
    return COMMITTED


@group.command(
    "show", epilog=usage.SHOW, short_help="Describe a store: classes, failures, repeated pictures."
)
@click.argument("store", type=usage.FILE)
@storage_option
def show(store: str) -> int:
    """Describe a store: classes, failures, pictures that are there twice."""
    from daskimg.show import describe

    for line in describe(store):
        click.echo(line)
    return 0


@group.command("report", epilog=usage.REPORT, short_help="Write a page about a store.")
@click.argument("store", type=usage.FILE)
@click.argument("page", type=usage.FILE, metavar="OUT.html")
@click.option("--private", is_flag=True, help="Leave out pictures, paths and addresses.")
@storage_option
def report(store: str, page: str, private: bool) -> int:
    """Write a page about a store: failures, classes, sources, samples, duplicates.

    OUT.html is one file that needs no network. When tasks ran, only the run itself knows:
    --report of daskimg run.
    """
    from daskimg.report import write_report

    write_report(store, page, private=private)
    return COMMITTED


@group.command("verify", epilog=usage.VERIFY, short_help="Compare a store with its last commit.")
@click.argument("store", type=usage.FILE)
@click.option("--rows", default=0, metavar="K", help="Make K random samples again and compare.")
@click.option("--root", type=usage.FILE, metavar="URL", help="Where relative paths are now.")
@storage_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def verify(store: str, rows: int, root: str | None, as_json: bool) -> int:
    """Compare every object of a store with its last commit; exit 1 on any finding."""
    from daskimg.verify import verify_store

    found = verify_store(store, rows=rows, root=root)
    if as_json:
        fields = {name: getattr(found, name) for name in found.__slots__}
        click.echo(json.dumps(fields))
    else:
        for line in found.findings:
            click.echo(line)
        whole = counted(len(found.findings), "finding") if found.findings else "whole"
        again = f", {counted(found.recomputed, 'sample')} made again" if found.recomputed else ""
        click.echo(f"{whole}: {counted(found.objects, 'object')}{again}: {found.url}")
    return 1 if found.findings else 0


@group.command(
    "export", epilog=usage.EXPORT, short_help="Write samples as files that other tools read."
)
@click.argument("store", type=usage.FILE)
@click.argument("folder", type=usage.FILE)
@click.option("--to", "form", required=True, metavar="FORMAT", type=click.Choice(
              ["png", "jpeg", "tfrecord", "webdataset", "npy", "parquet"]),
              help="png, jpeg: files in class folders. tfrecord: tf.train.Example. webdataset: "
              "tars. npy: NumPy. parquet: as Hugging Face datasets read it.")  # fmt: skip
@click.option("--split", "splits", multiple=True, metavar="NAME",
              help="This split only. Repeatable; by default all.")  # fmt: skip
@click.option("--layout", type=click.Choice(["example", "one-hot", "pose"]),
              help="Fields of a TFRecord. example: image/encoded, image/class/label and more. "
              "one-hot: raw pixels, a one-hot label, and sizes.json beside it. pose: a crop as "
              "JPEG, with joints in its pixels.")  # fmt: skip
@click.option("--encoding", type=click.Choice(["png", "jpeg"]),
              help="Of pictures in records, tars and tables. Default: png, which keeps every "
              "pixel; for layout pose jpeg.")  # fmt: skip
@click.option("--quality", type=int, default=95, metavar="N", show_default=True, help="Of JPEG.")
@click.option("--shard-samples", type=int, metavar="N",
              help="Samples a file. Default: 128 MB of pixels, at most 16,384.")  # fmt: skip
@click.option("--limit", type=int, metavar="N", help="The first N samples only, of each split.")
@click.option("--threads", type=int, metavar="N", help="Threads that encode. Default: the cores.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@storage_option
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def export(
    store: str, folder: str, form: Format, splits: tuple[str, ...], quiet: bool, **given: Any
) -> int:
    """Write the samples of STORE into FOLDER, in a form that other tools read.

    Order and labels are kept, samples that failed are left out and counted, and equal stores
    give equal bytes. Files are written whole: run it again to go on where it was stopped.
    """
    from daskimg.export import ExportOptions, export_samples
    from daskimg.progress import Counting
    from daskimg.read import open_store, splits_of

    options = ExportOptions(
        format=form, **{name: value for name, value in given.items() if value is not None}
    )
    for split in splits or splits_of(store) or (None,):
        with nullcontext() if quiet else Counting() as on_samples:
            found = export_samples(
                open_store(store, split), folder, options, on_samples=on_samples
            )
        if not quiet:
            click.echo("\n".join(found.lines()))
    return COMMITTED


@group.command("copy", epilog=usage.COPY, short_help="Copy a finished store, every hash checked.")
@click.argument("source", type=usage.FILE)
@click.argument("target", type=usage.FILE)
@click.option("--threads", default=8, metavar="N", show_default=True,
              help="Objects under way at once.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@storage_option
def copy(source: str, target: str, threads: int, quiet: bool, as_json: bool) -> int:
    """Copy a finished store between disks and buckets, every object's hash checked on the way.

    The commit comes last: until then there is no store at TARGET. What an earlier copy has left
    there is looked at, and kept if it is right. Pictures stay where they are: `verify --root`
    and `run --root` say where they have gone.
    """
    from daskimg.copies import copy_store
    from daskimg.progress import Counting

    with nullcontext() if quiet else Counting("objects") as on_objects:
        found = copy_store(source, target, threads=threads, on_objects=on_objects)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    elif not quiet:
        click.echo("\n".join(found.lines()))
    return COMMITTED


@group.command("recipe", epilog=usage.RECIPE, short_help="Print a recipe as TOML, to be changed.")
@click.argument("name", type=usage.RECIPES, default="resize")
@click.option("--size", type=Size(), metavar="N|HxW", help="Height and width of the output.")
@click.option("--set", "settings", multiple=True, metavar="T.FIELD=VALUE",
              help="Change a field of a step. Repeatable.")  # fmt: skip
def recipe(name: str, size: tuple[int, int] | None, settings: tuple[str, ...]) -> int:
    """Print a recipe as TOML, to be changed and given to --recipe."""
    from daskimg.recipes import adjusted, read_recipe, recipe_text

    if size or settings or name.endswith(".toml"):
        text = adjusted(read_recipe(name, size), settings).to_toml()
    else:
        text = recipe_text(name)
    click.echo(text, nl=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``daskimg`` command and return its exit status."""
    sys.path.insert(0, "")  # as with python -m: modules of the current folder, for recipes
    return call(group, argv, "daskimg")


if __name__ == "__main__":
    sys.exit(main())
