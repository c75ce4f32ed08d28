import re

import scenes

BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (scenes.ROOT / "README.md").read_text(), re.M | re.S
)


def test_the_quickstart_runs_as_it_stands(tmp_path, monkeypatch, capsys, threads):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").symlink_to(scenes.ROOT / "notebooks")

    with threads.as_current():
        exec(compile(BLOCKS[0], "README.md", "exec"), {"__name__": "__main__"})

    assert "committed: 48 samples, 0 failed" in capsys.readouterr().out


def test_the_example_of_a_transform_makes_the_same_noise_each_time(tmp_path, monkeypatch, threads):
    names = {"__name__": "readme_example"}
    monkeypatch.setitem(__import__("sys").modules, "readme_example", _Module(names))
    exec(compile(BLOCKS[1], "README.md", "exec"), names)
    table = str(scenes.PICTURES / "labels.csv")

    import daskimg

    first, second = (
        scenes.build(
            daskimg.read_manifest(table), tmp_path / name, threads, recipe=names["recipe"]
        )
        for name in ("a.zarr", "b.zarr")
    )

    assert (first.image[:] == second.image[:]).all()
    assert "readme_example:Grain" in str(first.attributes["recipe"])


class _Module:
    """A module made of the README's example, so that workers can import it by name."""

    def __init__(self, names):
        self.__dict__ = names


def test_the_example_of_a_transform_keeps_the_contract(monkeypatch):
    import daskimg

    names = {"__name__": "readme_example"}
    monkeypatch.setitem(__import__("sys").modules, "readme_example", _Module(names))
    exec(compile(BLOCKS[1], "README.md", "exec"), names)

    daskimg.check_transform(names["Grain"]())
