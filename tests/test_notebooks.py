"""Notebooks as they are kept: no outputs but a few small pictures, nothing of a machine.

CI executes them (`notebooks/execute.py`); here no kernel is needed.
"""

import json
import re
import sys
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest
import scenes

import daskimg
from daskimg.build._live import Live, in_notebook
from daskimg.build._report import Tally

NOTEBOOKS = sorted((scenes.ROOT / "notebooks").glob("*.ipynb"))
OWN = {"cloud", "quickstart", "recipes", "training"}
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
    return json.loads(path.read_text())["cells"]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= OWN


@each_notebook
def test_outputs_are_stripped_but_a_few_small_pictures(path):
    kept = 0
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert cell["execution_count"] is None
            kept += len(cell["outputs"])
            assert not cell["outputs"] or "picture" in cell["metadata"]["tags"]
    assert kept <= 3
    assert path.stat().st_size < 200_000


@each_notebook
def test_nothing_of_a_machine_is_kept(path):
    text = re.sub(r"base64,[^'\"\\]*", "", path.read_text())

    assert not re.search(r"/tmp/|/home/|/root|/work|127\.0\.0\.1:\d", text)
    metadata = json.loads(path.read_text())["metadata"]
    assert metadata.keys() <= {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_cells_are_python_and_first_they_say_what_they_are(name):
    first, *others = cells(scenes.ROOT / "notebooks" / f"{name}.ipynb")

    assert first["cell_type"] == "markdown" and first["source"][0].startswith("# ")  # noqa: PT018
    for cell in others:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), name, "exec")


# -- progress in a notebook -----------------------------------------------------------------


class Shown:
    """What a notebook shows, in place of IPython's display."""

    def __init__(self):
        self.pages = []

    def display(self, page, display_id):
        assert display_id is True
        self.pages.append(page)
        return self

    def update(self, page):
        self.pages.append(page)


@pytest.fixture
def notebook(monkeypatch):
    """The kernel of a notebook, as far as daskimg looks at it."""
    shown = Shown()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.HTML, display.display = str, shown.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_build_in_a_notebook_shows_its_progress_by_itself(notebook, table, tmp_path, threads):
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=4, max_failed=1)

    daskimg.build_store(plan, client=threads)

    pages = [ElementTree.fromstring(page) for page in notebook.pages]
    bars = [page.find("progress").attrib for page in pages]
    assert [bars[-1][name] for name in ("value", "max")] == ["40", "40"]
    assert "40 of 40 samples" in "".join(pages[-1].itertext())
    assert "2 failed" in "".join(pages[-1].itertext())
    assert all(bar["aria-label"] for bar in bars)


def test_it_shows_none_where_somebody_else_does_or_there_is_no_notebook(
    notebook, table, tmp_path, threads, monkeypatch
):
    seen = []
    plan = scenes.plan(table, tmp_path / "a.zarr", max_failed=1)

    daskimg.build_store(plan, client=threads, on_tally=seen.append)

    assert seen
    assert notebook.pages == []
    sys.modules["IPython"].get_ipython = lambda: None
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_the_bar_says_how_long_is_left_and_where_the_dashboard_is():
    live = Live()
    live.begin(SimpleNamespace(dashboard_link="http://127.0.0.1:8787/status?a=1&b='2'"))

    page = ElementTree.fromstring(live.page(Tally(1000, done=250, seconds=5.0)))

    assert "250 of 1,000 samples, 50 images/s, 15 s left" in "".join(page.itertext())
    assert page.find("a").attrib["href"] == "http://127.0.0.1:8787/status?a=1&b='2'"


def test_the_bar_is_not_drawn_more_often_than_can_be_seen(notebook):
    live = Live()

    for done in range(1, 1001):
        live(Tally(1000, done=done, seconds=0.1))

    assert 2 <= len(notebook.pages) < 50
    assert "1,000 of 1,000" in notebook.pages[-1]
