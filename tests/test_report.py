"""The page about a run and its store: what it tells, what it leaves out, who can read it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scenes

import daskimg
from daskimg import cli, run
from daskimg.report import Run, html_path, write_report
from daskimg.report import _charts as charts
from daskimg.store import Committed
from daskimg.timeline import Span, Timeline

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page as a screen reader goes through it; refuses tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.images, self.addresses, self.ids, self.open = [], [], [], [], []
        self.tags, self.words = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(given)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("href", "src") if name in given]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory, threads):
    """A store of two splits with two broken pictures and one that both splits have; its run."""
    table = scenes.table_of(*pictures)
    table = table.assign(split=["train" if i < 30 else "test" for i in range(40)])
    again = table.iloc[[0]].assign(label="dog", split="test")
    url = tmp_path_factory.mktemp("report") / "a.zarr"
    manifest = daskimg.read_manifest(pd.concat([table, again], ignore_index=True))
    plan = daskimg.plan_store(
        manifest, url, daskimg.recipes.resize(16), split="column:split",
        store=daskimg.StoreOptions(shard_samples=8, chunk_samples=8),
        options=daskimg.RunOptions(max_failed=1),
    )  # fmt: skip
    return daskimg.build_store(plan, client=threads)


@pytest.fixture(scope="module")
def text(built, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "a.html"
    built.save(path, command="python -m daskimg.run labels.csv a.zarr", performance="dask.html")
    return path.read_text()


def test_it_tells_what_was_asked_and_what_came_of_it(built, text):
    words = Page(text).text

    for part in (
        "python -m daskimg.run labels.csv a.zarr", "41 samples of 41 rows, 2 failed.",
        '"resize", height = 16, width = 16', "pillow", "committed: 41 samples, 2 failed",
        f"The run was limited by {built.timeline.limit()}.", "Images a second over time",
        "6 tasks on 1 worker", "Seconds of all tasks", "Failed samples by reason",
        "not a picture: begins with", "label: 3 classes", "Pictures by mode", "RGB",
        "32 to 63", "Of the good samples, 0 to 1", "35 samples from all over the store",
        "1 file is in several splits", "1 file with several values of 'label'",
    ):  # fmt: skip
        assert part in words, part
    assert f"{daskimg.open_store(built.url, 'train').mean[0]:.5f}" in words
    assert 'href="dask.html"' in text


def test_it_counts_each_class_in_each_split(built, text):
    rows = re.findall(
        r'<th scope="row">(\w+)</th><td class="number">(\d+)</td><td class="number">(\d+)</td>',
        text,
    )
    counts = {name: (int(train), int(test)) for name, train, test in rows}

    for split, place in (("train", 0), ("test", 1)):
        samples = daskimg.open_store(built.url, split)
        found = np.bincount(samples.labels, minlength=3)
        for name, count in zip(samples.classes, found.tolist(), strict=True):
            assert counts[name][place] == count


def test_it_needs_no_network_and_links_to_what_is_there(text):
    page = Page(text)

    outside = [a for a in page.addresses if not a.startswith(("data:image/jpeg;base64,", "#"))]
    assert outside == ["dask.html"]
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert "url(" not in text
    assert "<script" not in text


def test_it_can_be_read_by_a_screen_reader_and_with_a_keyboard(text):
    page = Page(text)

    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(later <= before + 1 for before, later in steps)
    assert len(set(page.ids)) == len(page.ids)
    assert all(image["alt"].startswith("sample of row ") for image in page.images)
    assert all(given.get("scope") in ("row", "col") for tag, given in page.tags if tag == "th")
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == [tag for tag, _ in page.tags].count("caption") > 6
    for _, given in (each for each in page.tags if each[0] == "svg"):
        assert given["role"] == "img"
        assert {given["aria-labelledby"], given["aria-describedby"]} <= set(page.ids)
    for _, given in (each for each in page.tags if each[1].get("role") == "region"):
        assert given["tabindex"] == "0"
        assert given["aria-label"]
    assert dict(page.tags)["html"] == {"lang": "en"}


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    short = colour.lstrip("#")
    digits = short if len(short) == 6 else "".join(2 * digit for digit in short)
    levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_light_and_in_dark(text):
    both = [
        dict(re.findall(r"--(\w+):(#\w+)", part)) for part in re.findall(r":root{[^}]*}", text)
    ]

    assert len(both) == 2
    for colours in both:
        for name in ("ink", "soft", "bar"):  # words and links
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
        for name in ("s0", "s1", "s2", "s3", "bad"):  # areas
            assert contrast(colours[name], colours["paper"]) >= 3, name


def test_a_private_page_has_no_picture_no_path_and_no_command(built, tmp_path, pictures):
    built.save(tmp_path / "a.html", private=True, command="python -m daskimg.run secret.csv")

    text = (tmp_path / "a.html").read_text()
    assert Page(text).images == []
    for part in ("data:", "secret.csv", built.url, str(pictures[0]), ".jpg", ".png", "a.zarr"):
        assert part not in text, part
    for part in ("41 samples of 41 rows", "Failed samples by reason", "label: 3 classes"):
        assert part in text, part


def test_a_page_made_afterwards_has_all_but_the_timeline(built, tmp_path, capsys):
    assert cli.main(["report", built.url, str(tmp_path / "a.html")]) == 0

    words = Page((tmp_path / "a.html").read_text()).text
    assert "does not keep when its tasks ran" in words
    assert "Images a second" not in words
    assert "1 file is in several splits" in words


def test_what_is_in_a_table_is_no_html(threads, pictures, tmp_path):
    table = scenes.table_of(*pictures).iloc[:8].assign(label="<script>alert(1)</script>&")
    table.loc[1, "path"] = "<b>gone</b>.jpg"
    scenes.build(table, tmp_path / "a.zarr", threads, max_failed=1)

    daskimg.write_report(tmp_path / "a.zarr", tmp_path / "a.html")

    text = (tmp_path / "a.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text
    assert "&lt;b&gt;gone" in text
    assert "<script" not in text
    assert "<b>" not in text


def test_the_command_line_writes_both_pages_and_says_so(table, tmp_path, capfd):
    table.to_csv(tmp_path / "labels.csv", index=False)
    arguments = [tmp_path / "labels.csv", tmp_path / "a.zarr", "--size", 16, "--max-failed", 1]
    pages = ["--report", tmp_path / "a.html", "--performance-report", tmp_path / "dask.html"]

    found = scenes.daskimg_run(*arguments, *pages, "--label", "label")

    assert found.returncode == 0, found.stderr
    assert f"report: {tmp_path / 'a.html'}" in found.stderr
    page = Page((tmp_path / "a.html").read_text())
    assert f"python -m daskimg.run {tmp_path / 'labels.csv'}" in page.text
    assert "dask.html" in page.addresses
    assert "Dask Performance Report" in (tmp_path / "dask.html").read_text()


def test_secrets_of_the_command_are_left_out(tmp_path, table, threads, monkeypatch):
    monkeypatch.setattr(daskimg.build, "build_store", lambda plan, **_: built(plan))

    def built(plan):
        return run_store(plan, client=threads)

    run_store = daskimg.build._run.build_store
    table.to_csv(tmp_path / "labels.csv", index=False)
    url = "https://me:password@host/root?X-Goog-Signature=12ab"

    run.main(
        [str(tmp_path / "labels.csv"), str(tmp_path / "a.zarr"), "--size", "16", "--quiet",
         "--max-failed", "1", "--scheduler", url, "--report", str(tmp_path / "a.html")]
    )  # fmt: skip

    text = (tmp_path / "a.html").read_text()
    assert "--scheduler https://host/root" in text
    assert "password" not in text
    assert "12ab" not in text


def test_a_refused_run_has_a_page_of_its_failures(table, tmp_path, threads):
    report = daskimg.build_store(scenes.plan(table, tmp_path / "a.zarr"), client=threads)
    assert report.outcome == "refused"

    report.save(tmp_path / "a.html")

    words = Page((tmp_path / "a.html").read_text()).text
    assert "not committed: 40 samples, 2 failed" in words
    assert "not a picture: begins with" in words
    assert "Images a second over time" in words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "a report is HTML, got .*a.pdf; try .*a.html"),
        ("gone/a.html", "there is no folder .*gone for .*; make it first"),
        ("gs://bucket/a.html", "a local file, got gs://bucket/a.html; try report.html"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_done(
    name, message, tmp_path, table, capsys
):
    place = name if "://" in name else str(tmp_path / name)
    table.to_csv(tmp_path / "labels.csv", index=False)

    with pytest.raises(daskimg.OptionError, match=message):
        html_path(place)
    for option in ("--report", "--performance-report"):
        code = run.main([str(tmp_path / "labels.csv"), str(tmp_path / "a.zarr"), option, place])
        assert code == run.REFUSED
        assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "a.zarr").exists()


def test_a_store_that_is_not_finished_has_no_page(tmp_path):
    with pytest.raises(daskimg.StoreError, match="there is no store"):
        write_report(tmp_path / "gone.zarr", tmp_path / "a.html")


def many_rows(count):
    """A rows table as that of a store of so many samples, with a thousand classes."""
    rng = np.random.default_rng(1)
    number = np.arange(count)
    return pa.table(
        {
            "row": number,
            "path": [f"pictures/of/some/thing/{i:09d}.jpg" for i in number],
            "status": np.where(number % 50 == 0, 2, 1).astype(np.uint8),
            "reason": np.where(number % 50 == 0, "corrupt", ""),
            "source_sha256": [f"{i // 3:064x}" for i in number],
            "source_bytes": rng.integers(1_000, 1_000_000, count),
            "source_width": rng.integers(1, 10_000, count),
            "source_height": rng.integers(1, 10_000, count),
            "source_mode": rng.choice(["RGB", "L", "CMYK"], count),
            "label": [f"class {i % 1000}" for i in number],
            "split": rng.choice(["train", "test"], count),
        }
    )


def test_a_page_of_a_hundred_thousand_images_is_under_five_megabytes(built, tmp_path, monkeypatch):
    rows = many_rows(100_000)
    failed = rows.filter(pa.compute.equal(rows["status"], 2)).to_pandas()
    failed = failed.assign(message="image file is truncated (24 bytes not processed)" * 3)
    monkeypatch.setattr(Committed, "rows", lambda self, columns: rows.select(columns))
    monkeypatch.setattr(Committed, "failures", lambda self: pa.table(failed))
    counts = {f"class {i}": [90, 10] for i in range(1000)}
    monkeypatch.setattr("daskimg.report._facts._balance", lambda groups: {"label": counts})
    spans = [Span(i, f"worker {i % 16}", i / 16, i / 16 + 1, 1024) for i in range(10_000)]
    timeline = Timeline(16, spans)

    write_report(
        built.url, tmp_path / "a.html", run=Run(committed=True, lines=(), timeline=timeline)
    )

    text = (tmp_path / "a.html").read_text()
    assert len(text) < 5e6
    assert "33,334 files are in" in text or "files are in several splits" in text
    assert "CMYK" in Page(text).text
    assert "10,000 tasks, 16 at once at most" in text


def test_lanes_are_threads():
    spans = [
        Span(0, "a", 0, 2, 1),
        Span(1, "a", 1, 3, 1),
        Span(2, "a", 2, 4, 1),
        Span(3, "b", 0, 9, 1),
    ]

    lanes = charts._lanes(spans)

    assert [(worker, [span.shard for span in lane]) for worker, lane in lanes] == [
        ("a", [0, 2]),
        ("a", [1]),
        ("b", [3]),
    ]


def test_charts_of_a_run_of_no_length_are_drawn(built):
    timeline = Timeline(1, [Span(0, "a", 5.0, 5.0 + 1e-9, 10)])

    for chart in (charts.throughput, charts.tasks, charts.stages):
        assert "nan" not in chart(timeline)
        assert "inf" not in chart(timeline)


def test_a_relabelled_store_s_run_has_no_charts(built, tmp_path):
    replace(built, timeline=Timeline()).save(tmp_path / "a.html")

    assert "Images a second" not in (tmp_path / "a.html").read_text()


def test_what_is_drawn_of_very_many_tasks_keeps_their_most_and_their_end():
    line = Timeline(4, [Span(i, "a", i / 4, i / 4 + 1, 1) for i in range(4000)])
    points = list(line.concurrency())

    thinned = charts._thinned(points, line.seconds)

    assert len(thinned) <= charts._BINS + 2
    assert max(count for _, count in thinned) == max(count for _, count in points)
    assert thinned[-1][1] == 0
