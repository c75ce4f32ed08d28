"""The ``daskimg`` command: the main job and the tools around it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from daskimg.errors import SampleError
from daskimg.run import (
    COMMITTED,
    TOO_MANY_FAILED,
    Size,
    call,
    command,
    manifest_of,
    recipe_of,
    storage_option,
)
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(context_settings={"max_content_width": 99})
@click.version_option(package_name="daskimg")
def group() -> None:
    """Turn a table of image paths into ordered training arrays in Zarr, and look at them."""


group.add_command(command)

_PLAN_ONLY = {"dry_run", "quiet"}


@group.command(
    "plan", params=[option for option in command.params if option.name not in _PLAN_ONLY]
)
def plan(**given: Any) -> int:
    """Print what a run would do, and try 100 rows; nothing is written."""
    assert command.callback is not None
    code: int = command.callback(**given, dry_run=True, quiet=False)
    return code


_PREVIEW = {
    "manifest", "source", "path_column", "labels", "classes", "unknown_classes", "key", "root",
    "extensions", "split", "mask", "recipe", "settings", "size", "channels", "dtype", "seed",
    "exact_decode", "max_pixels", "storage_option", "debug",
}  # fmt: skip
"""The options of a run that say what the table is, and what is done to a row of it."""


@group.command("preview", params=[option for option in command.params if option.name in _PREVIEW])
@click.argument("picture", metavar="OUT.png")
@click.option("--row", type=click.IntRange(0), default=0, metavar="N", show_default=True,
              help="Which row of the table, from 0.")  # fmt: skip
def preview(picture: str, row: int, **given: Any) -> int:
    """Draw what each step of a recipe makes of one row, and say it in words.

    OUT.png is written anew. Exit 1 if the row's own files or cells are at fault.
    """
    from daskimg.preview import png_path, preview_row

    png_path(picture)  # before anything is read
    try:
        found = preview_row(manifest_of(given), recipe_of(given), row=row, split=given["split"])
    except SampleError as error:
        click.echo(f"daskimg: {error}", err=True)
        return TOO_MANY_FAILED
    found.save(picture)
    click.echo(found.text())
    return COMMITTED


@group.command("show")
@click.argument("store")
@storage_option
def show(store: str) -> int:
    """Describe a store: classes, failures, pictures that are there twice."""
    from daskimg.show import describe

    for line in describe(store):
        click.echo(line)
    return 0


@group.command("verify")
@click.argument("store")
@click.option("--rows", default=0, metavar="K", help="Make K random samples again and compare.")
@click.option("--root", metavar="URL", help="Where relative paths are now.")
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


@group.command("recipe")
@click.argument("name", default="resize")
@click.option("--size", type=Size(), help="Height and width of the output.")
@click.option("--set", "settings", multiple=True, metavar="T.FIELD=VALUE")
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
