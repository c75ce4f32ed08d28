"""What --help says: a screen wide, with examples, and true."""

import os
import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from daskimg import cli, recipes, usage

COMMANDS = sorted(cli.group.commands)
each_command = pytest.mark.parametrize("name", COMMANDS)


def help_of(*arguments):
    found = CliRunner().invoke(cli.group, [*arguments, "--help"], terminal_width=80)
    assert found.exit_code == 0
    return found.output


@each_command
def test_help_fits_a_terminal_and_has_examples(name):
    text = help_of(name)

    assert max(map(len, text.splitlines())) <= 80
    assert re.search(rf"Examples\n  .*daskimg[. ]{name}", text)


def test_the_first_page_names_every_command_in_a_sentence_that_is_not_cut_off():
    text = help_of()

    assert max(map(len, text.splitlines())) <= 80
    for name in COMMANDS:
        (line,) = re.findall(rf"^  {name} +(.*)$", text, re.M)
        assert line.endswith("."), line
        assert not line.endswith("..")


@each_command
def test_every_option_is_told_once(name):
    text = help_of(name).partition("Examples")[0]

    for parameter in cli.group.commands[name].params:
        if isinstance(parameter, click.Option):
            flag = re.escape(parameter.opts[-1])
            assert len(re.findall(rf"^  (?:-\w, )?{flag}(?![\w-])", text, re.M)) == 1
            assert parameter.help


def test_options_are_found_under_headings():
    text = help_of("run")

    parts = re.split(r"^(\S.*):\n", text.partition("\n\n")[2], flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [*sections] == [*usage.SECTIONS, "Options"]
    assert "--label" in sections["The table"]
    assert "--codec" in sections["The store"]
    assert "--storage-option" in sections["Where it runs"]
    assert "--json" in sections["Options"]


@each_command
def test_examples_are_command_lines_that_it_takes(name):
    examples = help_of(name).partition("Examples\n")[2].partition("\n\n")[0]

    lines = examples.replace("\\\n", " ").splitlines()
    assert len(lines) >= 2
    for line in lines:
        words = shlex.split(re.split(r" [|>]", line)[0])
        words = words[words.index("daskimg.run") + 1 :] if "-m" in words else words[1:]
        command = cli.group.commands["run" if "-m" in line.split() else words.pop(0)]
        with command.make_context("x", list(words)):
            pass


def test_the_recipes_that_help_names_are_all_there_are():
    listed = usage.RECIPE.partition("Names\n")[2].partition("\n\n")[0]

    assert re.findall(r"[\w-]+", listed) == sorted(recipes.names(), key=listed.index)
    assert len(re.findall(r"[\w-]+", listed)) == len(recipes.names())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("daskimg exp", "plain,export"),
        ("daskimg run --max-f", "plain,--max-failed"),
        ("daskimg run M", "file,M"),
        ("daskimg run --recipe my", "file,my"),
        ("daskimg recipe ti", "plain,tiles"),
        ("daskimg run --codec l", "plain,lz4"),
    ],
)
def test_a_shell_completes_commands_and_options(words, expected):
    environment = os.environ | {
        "_DASKIMG_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }

    found = subprocess.run(
        [sys.executable, "-c", "from daskimg.cli import main; main()"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert expected in found.stdout.splitlines()
    assert found.stderr == ""


def test_without_a_command_help_is_printed_as_it_is(capsys):
    assert cli.main([]) == 2

    told = capsys.readouterr().err
    assert told.startswith("Usage: daskimg [OPTIONS] COMMAND")
    assert told.partition("\n")[2].split() == help_of().partition("\n")[2].split()
    assert len(told.splitlines()) > 20
