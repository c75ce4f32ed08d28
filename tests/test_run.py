import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scenes

import daskimg
from daskimg import cli, fetch, progress, run, store
from daskimg.build._course import Course
from daskimg.fetch import _retries

ORDINARY = ["--size", "16", "--max-failed", "1", "--workers", "1", "--threads", "2"]


@pytest.fixture
def labels(table, tmp_path):
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def refused(capsys, *arguments):
    """Run in this process, expecting a refusal; return its one line."""
    code = run.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == run.REFUSED, captured.err
    assert captured.out == ""
    assert captured.err.startswith("daskimg: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_the_main_job_from_start_to_finish(labels, table, tmp_path):
    found = scenes.daskimg_run(labels, tmp_path / "out.zarr", *ORDINARY)

    assert found.returncode == 0, found.stderr
    assert "dashboard: http://127.0.0.1:" in found.stderr
    assert "committed: 40 samples, 2 failed (5.00 %)" in found.stdout
    assert "2 format" in found.stdout
    samples = daskimg.open_store(str(tmp_path / "out.zarr"))
    assert samples.rows["path"].tolist() == table["path"].tolist()


def test_running_again_does_nothing_and_damage_is_repaired(labels, tmp_path):
    url = tmp_path / "out.zarr"
    scenes.daskimg_run(labels, url, *ORDINARY)
    before = scenes.objects(url)

    again = scenes.daskimg_run(labels, url, *ORDINARY)

    assert again.returncode == 0, again.stderr
    assert "unchanged: 40 samples" in again.stdout
    assert scenes.objects(url) == before
    shard = url / "image/c/0/0/0/0"
    shard.write_bytes(b"\0" + shard.read_bytes()[1:])
    (url / "label/c/0").unlink()
    repaired = scenes.daskimg_run(labels, url, *ORDINARY)
    assert repaired.returncode == 0, repaired.stderr
    assert daskimg.verify_store(str(url), rows=3).findings == ()
    assert scenes.objects(url, "image") == {
        name: content for name, content in before.items() if name.startswith("image/")
    }


def test_json_is_one_object_on_stdout(labels, tmp_path):
    found = scenes.daskimg_run(labels, tmp_path / "out.zarr", "--json", *ORDINARY)

    report = json.loads(found.stdout)
    assert (report["outcome"], report["exit"], report["failed"]) == ("committed", 0, 2)
    assert report["reasons"] == {"format": 2}


def test_quiet_says_nothing(labels, tmp_path):
    found = scenes.daskimg_run(labels, tmp_path / "out.zarr", "--quiet", *ORDINARY)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_a_summary_knows_one_from_many():
    one = daskimg.Report(
        url="a.zarr", outcome="committed", samples=1, failed=0, resumed=1, reduced=0, completed=1,
        source_bytes=0, stored_bytes=0, seconds=0.0, images_per_second=0.0, reasons={}, splits={},
        empty=1,
    )  # fmt: skip
    many = replace(one, samples=2000, resumed=2000, completed=2, empty=3)

    assert one.lines() == [
        "committed: 1 sample, 0 failed",
        "  1 row gives no sample",
        "  1 path was found by an --extension",
        "  1 was finished before this run",
        "  a.zarr",
    ]
    assert many.lines()[1:4] == [
        "  3 rows give no sample",
        "  2 paths were found by an --extension",
        "  2,000 were finished before this run",
    ]


def test_too_many_failures_are_not_committed_and_a_higher_limit_commits_without_work(
    labels, tmp_path
):
    url = tmp_path / "out.zarr"
    strict = scenes.daskimg_run(labels, url, "--size", "16", "--workers", "1")

    assert strict.returncode == run.TOO_MANY_FAILED
    assert "more than --max-failed 0.01" in strict.stderr
    assert not (url / "zarr.json").exists()
    written = (url / "image/c/0/0/0/0").stat().st_mtime_ns
    loose = scenes.daskimg_run(
        labels, url, "--size", "16", "--workers", "1", "--max-failed", "0.1"
    )
    assert loose.returncode == 0, loose.stderr
    assert "40 were finished before this run" in loose.stdout
    assert (url / "image/c/0/0/0/0").stat().st_mtime_ns == written


def test_the_first_failures_of_each_reason_are_named(tmp_path, threads, monkeypatch):
    names = scenes.make_pictures(tmp_path / "in", 40, broken=range(10, 30))
    table = scenes.table_of(tmp_path / "in", [*names[:38], "gone.jpg", names[39]])
    mirrored = daskimg.Recipe(
        [daskimg.Resize(16, 16), daskimg.Concatenate([[], [daskimg.Flip()]])]
    )
    plan = scenes.plan(table, tmp_path / "a.zarr", recipe=mirrored, shard=4, chunk=4)
    read = []
    whole = store._failures.read_entry
    monkeypatch.setattr(
        store._failures, "read_entry", lambda content: read.append(1) or whole(content)
    )

    report = daskimg.build_store(plan, client=threads)

    assert (report.outcome, report.reasons) == ("refused", {"format": 40, "missing": 2})
    assert [(each.reason, each.row, each.path) for each in report.examples] == [
        ("format", 10, table["path"][10]),
        ("format", 11, table["path"][11]),
        ("format", 12, table["path"][12]),
        ("missing", 38, table["path"][38]),
    ]
    lines = report.lines()
    after = lines.index("  40 format") + 1
    assert lines[after].startswith(f"    row 10: {table['path'][10]}: not a picture")
    assert lines[after + 3 : after + 5] == [
        "  2 missing",
        f"    row 38: {table['path'][38]}: no such file",
    ]
    assert json.loads(json.dumps(report.to_json()))["examples"][3]["message"] == "no such file"
    assert len(read) == 3  # of 20 entries: rows 10 and 11, row 12, row 38


def test_a_committed_store_needs_no_examples(table, tmp_path, threads):
    plan = scenes.plan(table, tmp_path / "a.zarr", max_failed=1)

    report = daskimg.build_store(plan, client=threads)

    assert (report.failed, report.examples) == (2, ())


def test_other_labels_are_written_without_reading_a_picture(pictures, table, tmp_path, threads):
    import shutil

    folder, names = pictures
    shutil.copytree(folder, tmp_path / "copy")
    mine = scenes.table_of(tmp_path / "copy", names)
    url = tmp_path / "out.zarr"
    scenes.build(mine, url, threads, max_failed=1)
    image = scenes.objects(url, "image")
    shutil.rmtree(tmp_path / "copy")
    better = mine.assign(label=["fox" if i == 3 else "yak" for i in range(40)])

    report = daskimg.build_store(scenes.plan(better, url, max_failed=1), client=threads)

    samples = daskimg.open_store(str(url))
    assert report.outcome == "relabelled"
    assert [samples.classes[code] for code in samples.labels] == better["label"].tolist()
    assert samples.attributes["commit"] == 2
    assert scenes.objects(url, "image") == image
    assert daskimg.verify_store(str(url)).findings == ()


def test_overwrite_builds_anew_and_deletes_only_a_store(labels, tmp_path):
    url = tmp_path / "out.zarr"
    scenes.daskimg_run(labels, url, *ORDINARY)

    anew = scenes.daskimg_run(labels, url, "--overwrite", "--size", "8", "--max-failed", "1")

    assert anew.returncode == 0, anew.stderr
    assert "overwriting 40 samples" in anew.stderr
    assert daskimg.open_store(str(url)).image.shape[1:3] == (8, 8)
    assert daskimg.verify_store(str(url), rows=2).findings == ()


def test_a_dry_run_prints_the_plan_and_writes_nothing(labels, tmp_path, capsys):
    code = run.main([str(labels), str(tmp_path / "out.zarr"), "--dry-run", *ORDINARY])

    out = capsys.readouterr().out
    assert code == 0
    for word in ("40 rows", "3 classes", "shards", "bytes written", "free space", "tried"):
        assert word in out, word
    assert "40 rows, 2 failed: 2 format" in out
    assert "--max-failed" not in out  # ORDINARY allows them
    assert not (tmp_path / "out.zarr").exists()
    assert cli.main(["plan", str(labels), str(tmp_path / "out.zarr"), *ORDINARY]) == 0


def test_a_plan_says_that_too_many_fail_and_that_there_is_no_label(table, tmp_path, capsys):
    given = table.rename(columns={"label": "Klasse"})
    given.to_csv(tmp_path / "bilder.csv", index=False)

    cli.main(["plan", str(tmp_path / "bilder.csv"), str(tmp_path / "o.zarr"), "--size", "8"])
    cli.main(["plan", str(tmp_path / "bilder.csv"), str(tmp_path / "o.zarr"), "--label", "Klasse"])

    bare, labelled = capsys.readouterr().out.split("manifest  ")[1:]
    assert "no label column: labels are all -1; name one with --label: Klasse, price" in bare
    assert "no label column" not in labelled
    assert "2 of 40 rows tried failed, more than --max-failed 0.01: a run would not be" in bare


def test_a_dry_run_in_json_gives_numbers(labels, tmp_path, capsys):
    before = run.main([str(labels), str(tmp_path / "o.zarr"), "--dry-run", "--json", *ORDINARY])

    found = json.loads(capsys.readouterr().out)
    assert (before, found["exit"], found["outcome"], found["would"]) == (0, 0, "planned", "begin")
    assert (found["rows"], found["samples"], found["rows_without_sample"]) == (40, 40, 0)
    assert (found["tried"], found["tried_failed"]) == (40, 2)
    assert found["tried_reasons"] == {"format": 2}
    assert (found["workers"], found["threads"]) == (1, 2)
    assert found["labels"]["label"]["classes"] == 3
    assert found["source_bytes"] > 10_000 < found["free_bytes"]
    assert cli.main(["plan", str(labels), str(tmp_path / "o.zarr"), "--json", *ORDINARY]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "free_bytes": 0} == {**found, "free_bytes": 0}


def test_a_dry_run_says_what_overwriting_would_delete_and_deletes_nothing(
    labels, table, tmp_path, threads, capsys
):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, max_failed=1)
    (url / "notes.txt").write_text("mine")
    before = scenes.objects(url)
    ours = [path for path in url.rglob("*") if path.is_file() and path.name != "notes.txt"]
    size = sum(path.stat().st_size for path in ours)
    arguments = [str(labels), str(url), "--overwrite", "--dry-run", *ORDINARY]

    assert (run.main(arguments), run.main([*arguments, "--json"])) == (0, 0)

    text, _, found = capsys.readouterr().out.strip().rpartition("\n")
    deletes = json.loads(found)["deletes"]
    assert f"  delete first  40 samples, {size / 1e6:,.1f} MB: {url}\n" in text
    assert deletes == {"url": str(url), "samples": 40, "objects": len(ours), "bytes": size}
    assert scenes.objects(url) == before
    daskimg.build_store(scenes.plan(table, url, max_failed=1, overwrite=True), client=threads)
    assert (url / "notes.txt").read_text() == "mine"


def test_an_unfinished_store_is_deleted_as_such(labels, table, tmp_path, capsys):
    store.create_plan(fetch.open_folder(str(tmp_path / "a.zarr")), scenes.plan(table, "a.zarr"))

    run.main([str(labels), str(tmp_path / "a.zarr"), "--overwrite", "--dry-run", *ORDINARY])

    assert "delete first  an unfinished store, 0.0 MB" in capsys.readouterr().out


def test_a_plan_in_numbers_is_what_is_built(table, tmp_path, threads):
    tiles = daskimg.recipes.read_recipe("tiles", 16)
    manifest = daskimg.read_manifest(table, labels=["label", "price"])
    packing = daskimg.StoreOptions(shard_samples=8, chunk_samples=4)
    plan = daskimg.plan_store(
        manifest, str(tmp_path / "a.zarr"), tiles, split="every:5", store=packing,
        options=daskimg.RunOptions(max_failed=1),
    )  # fmt: skip
    found = plan.to_json()

    daskimg.build_store(plan, client=threads)

    sizes = {
        name: daskimg.open_store(str(tmp_path / "a.zarr"), name) for name in ("train", "test")
    }
    arrays = {
        f"{split}/{name}": samples.array(name)
        for split, samples in sizes.items()
        for name in ("image", "affine", "label", "price", "status", "row", "part")
    }
    assert found["splits"] == {name: len(samples) for name, samples in sizes.items()}
    assert found["samples"] == sum(map(len, sizes.values()))
    assert {n: (tuple(a["shape"]), a["dtype"]) for n, a in found["arrays"].items()} == {
        name: (array.shape, str(array.dtype)) for name, array in arrays.items()
    }
    assert found["bytes"] == sum(array.nbytes for array in arrays.values())
    assert found["shards"] == len(list((tmp_path / "a.zarr").glob("*/image/c/*/0/0/0")))
    assert (found["shard_samples"], found["chunk_samples"]) == (8, 4)
    assert found["decodes_per_source"] > 1


def test_pictures_that_reach_into_two_shards_are_counted_as_decoded_twice(table, tmp_path):
    @dataclass(frozen=True)
    class Thrice:
        def resolve(self, spec):
            return [spec] * 3

        def __call__(self, sample):
            return [sample] * 3

    recipe = daskimg.Recipe([daskimg.Resize(16, 16), Thrice()])

    plan = scenes.plan(table, tmp_path / "a.zarr", recipe=recipe, shard=4, chunk=4)

    rows = {(shard, sample // 3) for sample in range(120) for shard in [sample // 4]}
    assert plan.to_json()["decodes_per_source"] == len(rows) / 40
    assert plan.to_json()["task_bytes"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.csv", "OUT"], "gone.csv"),
        (["TABLE", "OUT", "--path-column", "pth"], "pth.*path"),
        (["TABLE", "OUT", "--label", "lable"], "lable.*label"),
        (["TABLE", "OUT", "--label", "label:colour"], "class.*int.*float.*multi"),
        (["TABLE", "OUT", "--size", "0"], "height must be a whole number of at least 1, got 0"),
        (["TABLE", "OUT", "--size", "64x"], "'64x' is no size"),
        (["TABLE", "s3://bucket/out.zarr"], "cannot open s3://bucket/out.zarr: .*s3fs"),
        (["foo://bucket/a.csv", "OUT"], "cannot open foo://bucket/a.csv"),
        (["TABLE", "OUT", "--scheduler", "nonsense"], "no scheduler answers at nonsense"),
        (["TABLE", "OUT", "--set", "resize.height=abc"], "whole number of at least 1, got 'abc'"),
        (["TABLE", "OUT", "--max-pixels", "10"], "38 pixels"),
        (["TABLE", "OUT", "--size", "big"], "'big' is no size"),
        (["TABLE", "OUT", "--shard-samples", "100", "--chunk-samples", "32"], "try 96"),
        (["TABLE", "OUT", "--recipe", "rezise"], "Did you mean resize"),
        (["TABLE", "OUT", "--set", "resize.metod=box"], "no field 'metod'"),
        (["TABLE", "OUT", "--dtype", "int8"], "uint8, uint16, float32"),
        (["TABLE", "OUT", "--codec", "lzma"], "none, lz4, zstd"),
        (["TABLE", "OUT", "--max-failed", "7"], "fraction of 0 to 1"),
        (["TABLE", "OUT", "--memory-limit", "lots"], "try 2GB"),
        (["TABLE", "OUT", "--workers", "0"], "at least 1"),
        (["TABLE", "OUT", "--key", "label"], "duplicate|twice|same"),
        (
            ["TABLE", "OUT", "--root", "/nowhere/at/all", "--path-column", "name"],
            "first is /nowhere/at/all/p0000.jpg: check --root",
        ),
        (["TABLE", "OUT", "--frobnicate"], "frobnicate"),
        (["TABLE"], "STORE"),
        (["TABLE", "FOREIGN"], "holds other files .notes.txt."),
        (["TABLE", "FILE"], "is a file"),
        (["TABLE", "FILE/below.zarr"], "FILE"),
        (["EMPTY", "OUT"], "empty"),
        (["ROW", "OUT", "--label", "label", "--label", "row"], "row"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(
    table, tmp_path, capsys, arguments, message
):
    names = [Path(path).name for path in table["path"]]
    table.assign(name=names, row=1).drop(columns="row").to_csv(tmp_path / "TABLE.csv", index=False)
    table.assign(row=1).to_csv(tmp_path / "ROW.csv", index=False)
    table[:0].to_csv(tmp_path / "EMPTY.csv", index=False)
    (tmp_path / "FOREIGN").mkdir()
    (tmp_path / "FOREIGN" / "notes.txt").write_text("mine")
    (tmp_path / "FILE").write_text("a file")
    before = scenes.objects(tmp_path)
    places = {name: str(tmp_path / f"{name}.csv") for name in ("TABLE", "ROW", "EMPTY")}
    places |= {name: str(tmp_path / name) for name in ("OUT", "FOREIGN", "FILE", "gone.csv")}
    places["FILE/below.zarr"] = str(tmp_path / "FILE" / "below.zarr")

    line = refused(capsys, *(places.get(a, a) for a in arguments))

    assert re.search(message, line), line
    assert scenes.objects(tmp_path) == before


def test_other_pixels_are_refused_and_named(labels, table, tmp_path, threads, capsys):
    url = tmp_path / "out.zarr"
    scenes.build(daskimg.read_manifest(str(labels)), url, threads, max_failed=1)
    before = scenes.objects(url)

    line = refused(capsys, labels, url, "--size", "17", "--max-failed", "1")

    assert "holds other pixels: recipe" in line
    assert "--overwrite" in line
    assert scenes.objects(url) == before


def test_appended_rows_are_refused_with_advice(labels, table, tmp_path, threads, capsys):
    url = tmp_path / "out.zarr"
    scenes.build(daskimg.read_manifest(str(labels)), url, threads, max_failed=1)
    pd.concat([table, table[:2]]).to_csv(labels, index=False)

    line = refused(capsys, labels, url, "--size", "16", "--max-failed", "1")

    assert "first 40 rows of this table, which has 2 more now" in line
    assert "--limit 40" in line


def test_a_store_that_cannot_be_written_is_refused(labels, tmp_path, capsys):
    line = refused(capsys, labels, "/proc/out.zarr", *ORDINARY)

    assert "cannot write to /proc/out.zarr" in line


def test_debug_shows_the_traceback(labels, tmp_path, capsys):
    run.main([str(labels), str(tmp_path / "o.zarr"), "--size", "0", "--debug"])

    assert "Traceback" in capsys.readouterr().err


def test_a_bug_in_a_transform_names_the_row_and_exits_3(labels, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mybug.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Bug:\n"
        "    def resolve(self, spec): return [spec]\n"
        "    def __call__(self, sample): return [sample, 1 / 0]\n"
    )
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[[transform]]\nname = "resize"\nheight = 8\nwidth = 8\n'
        '[[transform]]\nname = "mybug:Bug"\n'
    )

    code = run.main([str(labels), str(tmp_path / "o.zarr"), "--recipe", str(recipe)])

    assert code == run.STOPPED
    assert "Bug (step 2 of 2) failed on row 0" in capsys.readouterr().err


SLOW_RECIPE = '[[transform]]\nname = "slow_resize:SlowResize"\nheight = 8\nwidth = 8\n'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_signal_leaves_a_resumable_store_and_exits_3_quickly(labels, tmp_path, number):
    recipe = tmp_path / "slow.toml"
    recipe.write_text(SLOW_RECIPE)
    url = tmp_path / "out.zarr"
    arguments = [
        labels, url, "--recipe", recipe, "--shard-samples", "2", "--max-failed", "1",
        "--workers", "1", "--threads", "1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{scenes.ROOT / 'tests'}:{scenes.ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "daskimg.run", *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    ledger = url / "daskimg/records/ledger"
    while process.poll() is None and not (ledger.is_dir() and len(list(ledger.iterdir())) > 2):
        time.sleep(0.01)

    began = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal does: workers get it too
    _, errors = process.communicate(timeout=30)

    assert process.returncode == run.STOPPED, errors
    assert time.monotonic() - began < 5
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("daskimg: stopped by a signal")
    again = scenes.daskimg_run(*arguments, env=environment)
    assert again.returncode == 0, again.stderr
    assert "were finished before this run" in again.stdout


def test_a_run_that_mostly_fails_is_stopped_early(table, tmp_path, threads):
    many = pd.concat([table] + [table.iloc[[5]]] * 1500, ignore_index=True)

    with pytest.raises(daskimg.StoppedError, match="check --root"):
        daskimg.build_store(scenes.plan(many, tmp_path / "a.zarr", shard=200), client=threads)


def test_no_kernel_is_compiled_where_none_is_needed(labels, tmp_path):
    script = (
        "import sys, daskimg, daskimg.task\n"
        "plan = daskimg.plan_store(daskimg.read_manifest(sys.argv[1]), sys.argv[2],\n"
        "    daskimg.recipes.resize(16), options=daskimg.RunOptions(max_failed=1))\n"
        "options = daskimg.ClusterOptions(processes=False, workers=1, dashboard=False)\n"
        "daskimg.build_store(plan, cluster=options)\n"
        "print('numba' in sys.modules)"
    )

    found = subprocess.run(
        [sys.executable, "-c", script, str(labels), str(tmp_path / "o.zarr")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert found.stdout == "False\n"


UNGUARDED = """
import sys, daskimg
manifest = daskimg.read_manifest(sys.argv[1])
options = daskimg.RunOptions(max_failed=1)
plan = daskimg.plan_store(manifest, sys.argv[2], daskimg.recipes.resize(8), options=options)
cluster = daskimg.ClusterOptions(workers=1, threads=1, dashboard=False)
print(daskimg.build_store(plan, cluster=cluster).outcome)
"""


def test_a_script_without_a_guard_is_told_what_to_do_and_resumes_with_one(labels, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    call = [sys.executable, str(script), str(labels), str(tmp_path / "o.zarr")]

    bare = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)

    assert bare.returncode == 1
    assert bare.stdout == ""
    assert bare.stderr.count("Traceback") == 1, bare.stderr
    last = bare.stderr.splitlines()[-1]
    assert last.startswith("daskimg.errors.StoppedError: the local cluster's processes did not")
    assert 'if __name__ == "__main__":' in last
    assert "ClusterOptions(processes=False)" in last
    body = UNGUARDED.strip().replace("\n", "\n    ")
    script.write_text(f'if __name__ == "__main__":\n    {body}\n')
    guarded = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert guarded.stdout == "committed\n", guarded.stderr


def test_one_label_column_may_have_several_companions(table, tmp_path, threads):
    manifest = daskimg.read_manifest(table, labels=["label", "price:float"])

    samples = scenes.build(manifest, tmp_path / "a.zarr", threads, max_failed=1)

    np.testing.assert_allclose(samples.array("price"), table["price"], rtol=1e-6)
    assert samples.attributes["columns"]["price"] == ["price", "float"]


def test_a_relabelling_that_is_refused_leaves_the_old_labels_whole(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, max_failed=1)
    before = scenes.objects(url)
    other = table.assign(label="yak")

    report = daskimg.build_store(scenes.plan(other, url, max_failed=0), client=threads)

    assert (report.outcome, report.committed) == ("refused", False)
    staged = {n: c for n, c in scenes.objects(url).items() if "/input/" not in n}
    assert staged == before
    assert daskimg.verify_store(str(url)).findings == ()


def test_a_label_that_is_dropped_leaves_no_array_behind(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    both = daskimg.read_manifest(table, labels=["label", "price"])
    scenes.build(both, url, threads, max_failed=1)

    one = daskimg.read_manifest(table, labels=["label"])
    daskimg.build_store(scenes.plan(one, url, max_failed=1), client=threads)

    assert not (url / "price").exists()
    assert daskimg.verify_store(str(url)).findings == ()


def test_overwriting_leaves_other_peoples_files_alone(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, max_failed=1)
    (url / "notes.txt").write_text("mine")
    (url / "drafts").mkdir()

    plan = scenes.plan(table, url, size=8, max_failed=1, overwrite=True)
    daskimg.build_store(plan, client=threads)

    assert (url / "notes.txt").read_text() == "mine"
    assert (url / "drafts").is_dir()
    assert daskimg.open_store(str(url)).image.shape[1] == 8


@pytest.mark.parametrize("overwrite", [False, True], ids=["the same", "another"])
def test_a_run_leaves_a_store_alone_that_another_has_finished_meanwhile(
    table, tmp_path, threads, monkeypatch, overwrite
):
    url = tmp_path / "a.zarr"
    other = scenes.plan(table[:20], url, max_failed=1, overwrite=True)
    found = []
    commit = Course._commit

    def commit_late(self, *given):
        monkeypatch.setattr(Course, "_commit", commit)
        plan = other if overwrite else scenes.plan(table, url, max_failed=1)
        daskimg.build_store(plan, client=threads)
        found.append(scenes.objects(url))
        commit(self, *given)

    monkeypatch.setattr(Course, "_commit", commit_late)
    with pytest.raises(daskimg.StoppedError, match="another run has finished this store meanwh"):
        daskimg.build_store(scenes.plan(table, url, max_failed=1), client=threads)

    assert [scenes.objects(url)] == found
    assert daskimg.verify_store(str(url)).findings == ()


def test_a_straggler_of_an_overwritten_run_assembles_nothing(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    plan = scenes.plan(table, url, max_failed=1)
    daskimg.build_store(plan, client=threads)
    folder, brief = fetch.open_folder(str(url)), plan.brief("an older run's id")
    before = scenes.objects(url)

    with pytest.raises(daskimg.StoreError, match="another run has taken over"):
        store.assemble_samples(folder, brief, store.sample_spans(brief)[0])
    with pytest.raises(daskimg.StoreError, match="another run has taken over"):
        store.assemble_rows(folder, brief, 0)

    assert scenes.objects(url) == before


def test_a_repair_that_would_come_out_otherwise_writes_nothing(pictures, tmp_path, threads):
    import shutil

    shutil.copytree(pictures[0], tmp_path / "in")
    table = scenes.table_of(tmp_path / "in", pictures[1])
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, shard=8, chunk=4, max_failed=1)
    shard = url / "image/c/1/0/0/0"
    damaged = b"\0" + shard.read_bytes()[1:]
    shard.write_bytes(damaged)
    scenes.picture(77).save(tmp_path / "in" / "p0009.png")
    plan = scenes.plan(table, url, shard=8, chunk=4, max_failed=1)
    before = scenes.objects(url / "daskimg/records/ledger")

    with pytest.raises(daskimg.StoppedError, match=r"sources have changed or are gone") as raised:
        daskimg.build_store(plan, client=threads)

    assert str(raised.value).count("run the same command again") == 1
    assert shard.read_bytes() == damaged
    assert scenes.objects(url / "daskimg/records/ledger") == before
    assert daskimg.open_store(str(url)).image.shape[0] > 8  # what was whole can still be read
    shutil.copy(pictures[0] / "p0009.png", tmp_path / "in" / "p0009.png")
    assert daskimg.build_store(plan, client=threads).outcome == "repaired"
    assert daskimg.verify_store(str(url), rows=5).findings == ()


@pytest.mark.parametrize("content", ["", '{"schema": 1, "number": 1'], ids=["empty", "torn"])
def test_a_damaged_commit_is_followed_by_a_good_one(table, tmp_path, threads, content):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, max_failed=1)
    (url / "daskimg/records/commits/000001.json").write_text(content)

    report = daskimg.build_store(scenes.plan(table, url, max_failed=1), client=threads)

    assert (report.outcome, report.resumed) == ("committed", 40)
    assert daskimg.open_store(str(url)).attributes["commit"] == 2
    assert daskimg.verify_store(str(url)).findings == ()


def test_the_advice_on_appended_rows_works(labels, table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    scenes.build(daskimg.read_manifest(str(labels)), url, threads, max_failed=1)
    pd.concat([table, table[:2]]).to_csv(labels, index=False)

    first = daskimg.read_manifest(str(labels), limit=40)

    assert daskimg.build_store(scenes.plan(first, url), client=threads).outcome == "unchanged"


def test_what_a_killed_writer_left_is_swept_away(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    (url / "image/c/0/0/0").mkdir(parents=True)
    (url / "image/c/0/0/0/.daskimg-0123").write_bytes(b"half")
    (url / "daskimg/records").mkdir(parents=True)
    plan = scenes.plan(table, url, max_failed=1)
    store.create_plan(fetch.open_folder(str(url)), plan)

    daskimg.build_store(plan, client=threads)

    assert not list(url.rglob(".daskimg-*"))


MANIFEST = "manifest must come from daskimg.read_manifest, got "
WRONG_TYPES = {
    "a file for a manifest": (
        lambda manifest, recipe: daskimg.plan_store("labels.csv", "a.zarr", recipe),
        MANIFEST + r"str 'labels.csv'; try read_manifest\('labels.csv'\)",
    ),
    "a frame for a manifest": (
        lambda manifest, recipe: daskimg.plan_store(pd.DataFrame(), "a.zarr", recipe),
        MANIFEST + "DataFrame; try",
    ),
    "a recipe's name": (
        lambda manifest, recipe: daskimg.plan_store(manifest, "a.zarr", "resize"),
        r"got str 'resize'; try daskimg.recipes.read_recipe\('resize'\)",
    ),
    "steps for a recipe": (
        lambda manifest, recipe: daskimg.plan_store(manifest, "a.zarr", [daskimg.Resize(8, 8)]),
        r"recipe must be a Recipe, got list; try Recipe\(\[...\]\) around it",
    ),
    "no address": (
        lambda manifest, recipe: daskimg.plan_store(manifest, None, recipe),
        "url must be a path or a URL, got None; try 'out.zarr'",
    ),
    "a number for a split": (
        lambda manifest, recipe: daskimg.plan_store(manifest, "a.zarr", recipe, split=5),
        "split cannot be int 5; try split='every:10'",
    ),
    "a mapping for options": (
        lambda manifest, recipe: daskimg.plan_store(manifest, "a.zarr", recipe, options={}),
        r"options cannot be dict; try options=RunOptions\(",
    ),
    "an address for a plan": (
        lambda manifest, recipe: daskimg.build_store("a.zarr"),
        "plan must come from daskimg.plan_store, got str 'a.zarr'; try plan_store",
    ),
    "a number for a table": (
        lambda manifest, recipe: daskimg.read_manifest(123),
        "a manifest is a path, a URL, or a pandas or Dask DataFrame; got int",
    ),
    "a number for a column": (
        lambda manifest, recipe: daskimg.read_manifest("labels.csv", key=3),
        "key must be the name of a column, got int 3",
    ),
    "a number for a label": (
        lambda manifest, recipe: daskimg.read_manifest("labels.csv", labels=["a", 3]),
        "labels must be text, got int 3 among them; try labels=",
    ),
    "a number for classes": (
        lambda manifest, recipe: daskimg.read_manifest("labels.csv", classes=3),
        "classes must be a file, a store or names, got int 3; try classes='classes.txt'",
    ),
    "a text for a limit": (
        lambda manifest, recipe: daskimg.read_manifest("labels.csv", limit="3"),
        "limit must be a whole number of at least 1, got '3'",
    ),
    "a word for overwriting": (
        lambda manifest, recipe: daskimg.RunOptions(overwrite="no"),
        "overwrite must be True or False, got str 'no'",
    ),
    "a text for a fraction": (
        lambda manifest, recipe: daskimg.RunOptions(max_failed="all"),
        "max_failed is a fraction of 0 to 1, got 'all'",
    ),
    "a text for workers": (
        lambda manifest, recipe: daskimg.ClusterOptions(workers="2"),
        "--workers must be a whole number of at least 1, got '2'",
    ),
    "a number for a scheduler": (
        lambda manifest, recipe: daskimg.ClusterOptions(scheduler=8786),
        "--scheduler must be an address or a file, got int 8786; try tcp://",
    ),
    "a file for a preview": (
        lambda manifest, recipe: daskimg.preview_row("labels.csv", recipe),
        MANIFEST + "str 'labels.csv'",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_wrong_type_is_refused_in_one_line_with_what_would_work(table, call, message):
    manifest, recipe = daskimg.read_manifest(table), daskimg.recipes.resize(8)

    with pytest.raises(daskimg.OptionError, match=message) as caught:
        call(manifest, recipe)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client": "tcp://host:8786"}, r"client must be a .*; an address goes into cluster="),
        ({"cluster": 4}, r"cluster must be ClusterOptions, got int 4; try cluster="),
    ],
    ids=["client", "cluster"],
)
def test_a_cluster_of_a_wrong_type_is_refused_before_anything_is_written(
    table, tmp_path, given, message
):
    plan = scenes.plan(table, tmp_path / "a.zarr", max_failed=1)

    with pytest.raises(daskimg.OptionError, match=message):
        daskimg.build_store(plan, **given)

    assert not (tmp_path / "a.zarr").exists()


def test_a_path_is_an_address_as_good_as_its_text(pictures, table, tmp_path):
    named = table.assign(path=pictures[1])
    named.to_csv(tmp_path / "labels.csv", index=False)
    manifest = daskimg.read_manifest(tmp_path / "labels.csv", root=pictures[0])

    plan = daskimg.plan_store(manifest, tmp_path / "a.zarr", daskimg.recipes.resize(8))

    assert plan.url == str(tmp_path / "a.zarr")
    assert plan.root == str(pictures[0])


class Tables(BaseHTTPRequestHandler):
    """Answers with the status that a path begins with; 200 after `server.wait` seconds."""

    def do_GET(self):
        status = int(self.path.split("/")[1])
        content = self.server.content if status == 200 else b""
        time.sleep(self.server.wait)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


async def at_once(seconds):
    """A pause without the waiting."""


@pytest.fixture
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Tables)
    httpd.content, httpd.wait = b"", 0.0
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=partial(httpd.serve_forever, 0.01))
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("404/a.csv", run.REFUSED, "there is no file URL: no such object"),
        ("404/a.parquet", run.REFUSED, "there is no file URL: no such object"),
        ("403/a.csv", run.REFUSED, "URL: permission denied"),
        ("503/a.csv", run.STOPPED, "cannot reach URL: 503 Service Unavailable"),
        ("503/*.csv", run.STOPPED, "cannot reach URL: .*503"),
    ],
)
def test_a_table_that_is_not_there_is_not_one_whose_server_is_in_trouble(
    server, tmp_path, capsys, monkeypatch, path, code, message
):
    monkeypatch.setattr(_retries, "pause", at_once)
    url = f"{server.url}/{path}"

    assert run.main([url, str(tmp_path / "o.zarr")]) == code

    line = capsys.readouterr().err
    assert re.fullmatch(f"daskimg: {message}.*\n", line.replace(url, "URL", 1)), line


@pytest.mark.parametrize("name", ["a.csv", "*.csv"])
def test_a_table_whose_server_is_gone_may_be_asked_for_again(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(_retries, "pause", at_once)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{name}"

        assert run.main([url, str(tmp_path / "o.zarr")]) == run.STOPPED

    line = capsys.readouterr().err
    assert line.startswith(f"daskimg: cannot reach {url}: "), line
    assert (line.count("\n"), "Cannot connect to host" in line) == (1, True)


def test_a_slow_table_is_told_of_but_not_where_quiet_was_asked_for(
    server, table, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "_SILENCE", 0.02)
    monkeypatch.setattr(progress, "_EVERY", 60)
    server.content, server.wait = table.to_csv(index=False).encode(), 0.05
    arguments = [f"{server.url}/200/a.csv", str(tmp_path / "o.zarr"), "--dry-run", *ORDINARY]

    codes = [run.main([*arguments, *more]) for more in ([], ["--quiet"], ["--json"])]

    assert codes == [0, 0, 0]
    assert re.fullmatch(r"reading the table(: 40 rows)?\n", capsys.readouterr().err)


def test_nothing_is_said_of_a_table_that_is_read_at_once(labels, tmp_path, capsys):
    assert run.main([str(labels), str(tmp_path / "o.zarr"), "--dry-run", *ORDINARY]) == 0

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_terminal", [False, True], ids=["log", "terminal"])
def test_what_is_read_is_told_with_its_count(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(progress, "_SILENCE", 0.01)
    monkeypatch.setattr(progress, "_EVERY", 0.02)
    monkeypatch.setattr(progress, "_REDRAWN", 0.02)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

    said = ""

    def wait_for(text):
        nonlocal said
        deadline = time.monotonic() + 30
        while text not in said and time.monotonic() < deadline:
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert text in said

    with progress.Reading() as reading:
        wait_for("reading the table")
        reading("headers", 40_000)
        wait_for("reading headers: 40,000 pictures")
        reading("table", 1)
        wait_for("reading the table: 1 row")


def test_a_plan_tells_of_headers_first_and_then_of_the_table(table, tmp_path):
    many = pd.concat([table] * 60, ignore_index=True)
    told = []

    daskimg.plan_store(
        daskimg.read_manifest(many), tmp_path / "a.zarr", daskimg.recipes.tiles(16),
        on_rows=lambda phase, rows: told.append((phase, rows)),
    )  # fmt: skip

    assert told == [("headers", 1024), ("headers", 2048), ("headers", 2400), ("table", 2400)]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["gs:/b/labels.csv", "o.zarr"], "gs://b/labels.csv"),
        (["labels.csv", "gs:/b/o.zarr"], "gs://b/o.zarr"),
        (["labels.csv", "o.zarr", "--root", "s3:/b/in"], "s3://b/in"),
        (["labels.csv", "file:/tmp/o.zarr"], "file:///tmp/o.zarr"),
    ],
)
def test_an_address_with_a_slash_too_few_is_refused(labels, words, meant, capsys, monkeypatch):
    monkeypatch.chdir(labels.parent)

    assert run.main([*words, *ORDINARY]) == 2

    assert f"did you mean {meant}?" in capsys.readouterr().err
    assert [path.name for path in labels.parent.glob("*:*")] == []


def test_a_store_is_no_manifest(table, tmp_path, threads, capsys):
    scenes.build(table, tmp_path / "a.zarr", threads, max_failed=1)

    assert run.main([str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr"), *ORDINARY]) == 2

    assert "a.zarr is a store, and no manifest: give the table" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nope.json", "./nope"])
def test_a_scheduler_file_that_is_not_there_is_said_so(labels, tmp_path, name, capsys):
    words = [str(labels), str(tmp_path / "o.zarr"), "--scheduler", name, "--size", "8"]

    assert run.main(words) == 2

    assert f"there is no scheduler file {name}: no such file" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")  # Dask's
def test_a_port_of_the_dashboard_that_is_taken_is_no_matter(labels, tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr("daskimg.build._cluster._dashboard_address", lambda: address)

        code = run.main([str(labels), str(tmp_path / "o.zarr"), *ORDINARY, "--quiet"])

    assert (code, capsys.readouterr().err) == (0, "")
