"""What ``--help`` says beside the options: sections to find them in, examples, exit statuses.

All of it fits a terminal of 80 columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECTIONS = {
    "The table": (
        "source", "path_column", "labels", "classes", "unknown_classes", "key", "root",
        "extensions", "split", "mask", "limit", "rows", "numbers",
    ),
    "What is done to a picture": (
        "recipe", "recipes", "settings", "size", "channels", "dtype", "seed", "exact_decode",
        "max_pixels",
    ),
    "The store": ("shard_samples", "chunk_samples", "codec", "overwrite", "max_failed"),
    "Where it runs": (
        "scheduler", "workers", "threads", "memory_limit", "storage_option",
        "max_requests_per_second", "prices",
    ),
}  # fmt: skip
"""Which options stand under which heading; all others come last."""


class Sectioned(click.Command):
    """A command that tells of its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section, each in the order of the command."""
        left = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for title, names in SECTIONS.items():
            mine = [param for param in left if param.name in names]
            left = [param for param in left if param.name not in names]
            self._section(title, mine, ctx, formatter)
        self._section("Options", left, ctx, formatter)

    def _section(
        self,
        title: str,
        params: Sequence[click.Option],
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        records = [record for param in params if (record := param.get_help_record(ctx))]
        if records:
            with formatter.section(title):
                formatter.write_dl(records, col_max=26)


class Words(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Text that a shell completes to one of some words, or else to a file.

    What is none of them is passed on: whoever takes it knows better what to say.

    Parameters
    ----------
    words
        Those there are, or a function that returns them.
    files
        Whether it may name a file, too.
    """

    name = "text"

    def __init__(
        self, words: Sequence[str] | Callable[[], Sequence[str]], *, files: bool = False
    ) -> None:
        self._words, self._files = words, files

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the words that begin so; where there is none, leave it to the shell."""
        del ctx, param
        words = self._words() if callable(self._words) else self._words
        found = [CompletionItem(word) for word in words if word.startswith(incomplete)]
        if not found and self._files:
            return [CompletionItem(incomplete, type="file")]
        return found


def recipe_names() -> Sequence[str]:
    """Return the names of recipes, imported when a shell asks."""
    from daskimg.recipes import names

    return names()


RECIPES = Words(recipe_names, files=True)
FILE = click.Path()
"""A file, a folder or a URL: nothing is checked, and a shell completes files."""


GROUP = """
\b
Examples
  daskimg run labels.csv out.zarr --size 64    build; again: go on, or repair
  daskimg plan labels.csv out.zarr --size 64   what would it do?
  daskimg preview labels.csv sheet.png         what would it look like?
  daskimg show out.zarr                        what is in there?
  daskimg verify out.zarr --rows 10            is it whole?

\b
Completion of commands, options and files in a shell (bash; also zsh, fish)
  eval "$(_DASKIMG_COMPLETE=bash_source daskimg)"

`daskimg COMMAND --help` tells more of each.
"""

RUN = """
\b
Examples
  python -m daskimg.run labels.csv out.zarr --size 64
  python -m daskimg.run pictures/ out.zarr --recipe center-crop --size 224
  python -m daskimg.run labels.csv out.zarr --split every:10 --report run.html
  python -m daskimg.run "gs://bucket/part-*.parquet" gs://bucket/out.zarr \\
      --label class:int --scheduler tcp://host:8786
  python -m daskimg.run labels.csv out.zarr --dry-run

\b
Exit status
  0  committed: the store can be read
  1  finished, but more than --max-failed failed: not committed (run again
     with a higher limit, which redoes nothing)
  2  refused: nothing was written
  3  stopped by a fault or a signal: run the same command again to go on
"""

PLAN = """
\b
Examples
  daskimg plan labels.csv out.zarr --recipe tiles --size 128
  daskimg plan labels.csv out.zarr --json | jq .samples

\b
Exit status
  0  it could run
  2  it would be refused: why, and what would work, is on stderr
"""

PREVIEW = """
\b
Examples
  daskimg preview labels.csv -o sheet.png
  daskimg preview labels.csv sheet.png --recipe fit --recipe tiles --rows 8
  daskimg preview mpii/validation.json person.png --recipe pose --row 3

\b
Exit status
  0  drawn
  1  the row of --row cannot be drawn: its own files or cells are at fault
  2  refused: there is no such row, or recipe and table do not fit together
  3  a step of the recipe failed, or a server could not be reached
"""

SHOW = """
\b
Examples
  daskimg show out.zarr
  daskimg show gs://bucket/out.zarr | grep -A9 failures
"""

REPORT = """
\b
Examples
  daskimg report out.zarr out.html
  daskimg report gs://bucket/out.zarr out.html --private
"""

VERIFY = """
\b
Examples
  daskimg verify out.zarr
  daskimg verify out.zarr --rows 100 --root /mnt/pictures

\b
Exit status
  0  whole
  1  something is not as it was committed: a line for each
  2  there is no finished store
"""

EXPORT = """
\b
Examples
  daskimg export out.zarr --to png pictures/
  daskimg export out.zarr --to webdataset --encoding jpeg tars/
  daskimg export tiny.zarr --to tfrecord --layout one-hot gs://bucket/records
  daskimg export pose.zarr --to tfrecord --layout pose --split train records/
  daskimg export out.zarr --to parquet hub/data

\b
Exit status
  0  all is there
  2  refused: the store has not what the format needs, or the folder holds
     something else
  3  stopped: run the same command again to go on
"""

COPY = """
\b
Examples
  daskimg copy out.zarr gs://bucket/out.zarr
  daskimg copy gs://here/out.zarr gs://there/out.zarr
  daskimg copy gs://bucket/out.zarr /local/disk/out.zarr --threads 16

\b
Exit status
  0  copied: every hash was right
  2  refused: there is no finished store, or something else where it is to be
  3  stopped by a fault, a damaged object or a signal: run it again to go on
"""

RECIPE = """
\b
Names
  resize, center-crop, fit, tiles, noise-frames, train-tiles, mirrored,
  tiny-imagenet, products, pose, masks

\b
Examples
  daskimg recipe tiles > my.toml
  daskimg recipe center-crop --size 96 --set center-crop.method=lanczos
  daskimg run labels.csv out.zarr --recipe my.toml
"""
