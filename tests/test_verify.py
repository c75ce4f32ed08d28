import json
import shutil

import pytest
import scenes

import daskimg
from daskimg import cli
from daskimg.store._shard import small_object, stamp


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory, threads):
    folder = tmp_path_factory.mktemp("verify")
    shutil.copytree(pictures[0], folder / "pictures")
    table = scenes.table_of(folder / "pictures", pictures[1])
    table["path"] = pictures[1]
    table.to_csv(folder / "pictures" / "labels.csv", index=False)
    manifest = daskimg.read_manifest(str(folder / "pictures" / "labels.csv"))
    scenes.build(manifest, folder / "out.zarr", threads, shard=16, chunk=4, max_failed=1)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def findings(copy, **options):
    options.setdefault("root", str(copy / "pictures"))
    return daskimg.verify_store(str(copy / "out.zarr"), **options).findings


def test_a_whole_store_has_no_findings(copy, capsys):
    assert findings(copy, rows=40) == ()
    assert cli.main(["verify", str(copy / "out.zarr"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


@pytest.mark.parametrize(
    "name",
    [
        "image/c/1/0/0/0", "label/c/0", "status/c/0", "affine/c/0/0/0", "zarr.json",
        "image/zarr.json", "daskimg/records/plan.json", "daskimg/records/failures.parquet",
        "daskimg/records/rows/00000000.parquet", "daskimg/records/ledger/00000001.parquet",
    ],
)  # fmt: skip
def test_any_flipped_bit_and_any_missing_object_is_a_finding(copy, name):
    path = copy / "out.zarr" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    found = findings(copy)

    assert any(name in line for line in found)

    path.unlink()
    if not name.endswith("plan.json"):
        assert any(f"{name} is missing" in line for line in findings(copy))


def test_an_object_that_nobody_committed_is_a_finding(copy):
    (copy / "out.zarr/image/c/9/0/0").mkdir(parents=True)
    (copy / "out.zarr/image/c/9/0/0/0").write_bytes(b"stray")

    assert any("image/c/9/0/0/0 is not an object" in line for line in findings(copy))


def test_a_source_that_changed_is_found_by_making_it_again(copy):
    scenes.picture(99).save(copy / "pictures" / "p0000.jpg")
    (copy / "pictures" / "p0001.png").unlink()
    scenes.picture(5).save(copy / "pictures" / "p0005.png")
    (copy / "pictures" / "p0005.png").replace(copy / "pictures" / "p0005.jpg")
    shutil.copy(copy / "pictures" / "p0005.jpg", copy / "pictures" / "p0005.png")

    found = "\n".join(findings(copy, rows=40))

    assert "sample 0 (row 0, p0000.jpg): image differs" in found
    assert "sample 1 (row 1, p0001.png) is ok in the store, and now fails: missing" in found
    assert "sample 5 (row 5, p0005.png) failed in the store, and can be made now" in found


def test_findings_make_exit_1(copy, capsys):
    (copy / "out.zarr/image/c/0/0/0/0").unlink()

    assert cli.main(["verify", str(copy / "out.zarr")]) == 1
    assert "image/c/0/0/0/0 is missing" in capsys.readouterr().out


def test_what_is_no_store_cannot_be_verified(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path / "nowhere")]) == 2
    assert "there is no store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("affine", "sample 3 (row 3, p0003.png): affine differs in 1 values"),
        ("part", "sample 3 is not of row 3, which has 1 from 3 on"),
        ("row", "sample 3 is not of row 4, which has 1 from 4 on"),
    ],
)
def test_small_arrays_are_made_again_too(copy, name, words):
    values = daskimg.open_store(str(copy / "out.zarr")).array(name)
    values[(3, *[0] * (values.ndim - 1))] += 1
    record = copy / "out.zarr/daskimg/records/commits/000001.json"
    commit = json.loads(record.read_text())
    chunk = f"{name}/c/0" + "/0" * (values.ndim - 1)
    content = small_object(values, len(values))
    commit["objects"][chunk] = stamp(content)  # as if it had been committed so
    (copy / "out.zarr" / chunk).write_bytes(content)
    record.write_text(json.dumps(commit))

    assert findings(copy, rows=40) == (words,)
