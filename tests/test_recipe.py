from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scenes

import daskimg
from daskimg import recipes
from daskimg.errors import OptionError, PlanError, TransformError
from daskimg.recipe import Recipe, Row
from daskimg.transforms import Resize, Target, TargetSpec


@dataclass(frozen=True)
class Twice:
    """The picture, and the picture upside down."""

    def resolve(self, spec):
        return [spec, spec]

    def __call__(self, sample):
        from daskimg.decode import Picture

        turned = Picture.from_array(np.ascontiguousarray(sample.image.array()[::-1]))
        return [sample, replace(sample, image=turned)]


@dataclass(frozen=True)
class Buggy:
    def resolve(self, spec):
        return [spec]

    def __call__(self, sample):
        return [1 / 0]


def eight_by_eight(content):
    """A decoder of the user's own."""
    if len(content) < 50:
        raise ValueError("too short")
    return np.resize(np.frombuffer(content, np.uint8), (8, 8, 3))


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_goes_to_toml_and_back(name, tmp_path):
    recipe = recipes.read_recipe(name, (48, 64), channels=1, window=(0, 4095))
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())

    assert recipes.read_recipe(str(tmp_path / "recipe.toml")) == recipe
    assert hash(recipe)


def test_custom_code_goes_to_toml_by_its_address():
    recipe = Recipe((Twice(), Resize(8, 8)), decoder=eight_by_eight)

    given = recipe.to_dict()

    assert given["decoder"].endswith("test_recipe:eight_by_eight")
    assert Recipe.from_dict(given) == recipe
    assert len(recipe.sources()) == 2
    assert all(len(digest) == 64 for digest in recipe.sources().values())


def test_the_default_sizes_are_those_of_the_contract():
    assert recipes.read_recipe("resize").outputs()[0].height == 224
    assert recipes.read_recipe("center-crop").outputs()[0].width == 224


def test_a_toml_recipe_takes_another_size(tmp_path):
    (tmp_path / "r.toml").write_text(recipes.fit(64).to_toml())

    spec = recipes.read_recipe(str(tmp_path / "r.toml"), (32, 48)).outputs()[0]

    assert (spec.height, spec.width) == (32, 48)


def test_settings_change_fields():
    recipe = recipes.adjusted(
        recipes.fit(8), ["fit.fill=[9, 9, 9]", "fit.method=lanczos", "decode.channels=1"]
    )

    assert recipe.transforms[0].fill == (9, 9, 9)
    assert recipe.transforms[0].method == "lanczos"
    assert recipe.decode.channels == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipes.read_recipe("center-corp"), "Did you mean center-crop?"),
        (lambda: recipes.read_recipe("gone.toml"), "no recipe file"),
        (lambda: recipes.adjusted(recipes.resize(8), ["fit.fill=1"]), "it has decode, resize"),
        (lambda: recipes.adjusted(recipes.resize(8), ["resize.hight=1"]), "no field 'hight'"),
        (lambda: recipes.adjusted(recipes.resize(8), ["nonsense"]), "transform.field=value"),
        (lambda: recipes.resize(8, channels=2), "1 .grey. or 3"),
        (lambda: Recipe((Resize,)), "is not a transform"),
        (lambda: Recipe.from_dict({"transform": [{"name": "blur"}]}), "no transform is called"),
        (lambda: Recipe.from_dict({"transform": [{"name": "resize"}]}), "height"),
        (lambda: Recipe.from_dict({"colour": 1}), "no field 'colour'"),
        (lambda: Recipe.from_dict({"transform": {"name": "fit"}}), "write ..transform.."),
        (lambda: Recipe.from_dict({"seed": "x"}), "seed must be a whole number"),
        (lambda: recipes.resize(10.5), "whole number of at least 1, got 10.5"),
        (lambda: Recipe.from_dict({"decoder": "nowhere:f"}), "cannot import"),
    ],
)  # fmt: skip
def test_a_bad_recipe_is_refused_with_advice(call, message):
    with pytest.raises(OptionError, match=message):
        call()


def test_a_recipe_without_a_size_is_refused():
    with pytest.raises(PlanError, match="end the recipe with resize"):
        Recipe(()).outputs()


def test_a_bug_is_not_mistaken_for_a_broken_picture(table):
    content = Path(table["path"][0]).read_bytes()

    failure = r"Buggy \(step 1 of 1\) failed on row 7 \(a.jpg\): ZeroDivision"
    with pytest.raises(TransformError, match=failure):
        Recipe((Buggy(),)).apply(content, Row(7, "a.jpg"))


@dataclass(frozen=True)
class Liar:
    """Promises a target and what it is, and makes another one, or none."""

    made: tuple = ()

    def resolve(self, spec):
        target = TargetSpec("age", "values", ("year",), (4,), "float32")
        return [replace(spec, targets=(target,))]

    def __call__(self, sample):
        return [replace(sample, targets={k: Target("values", v) for k, v in self.made})]


@pytest.mark.parametrize(
    "made", [(), (("age", np.zeros(1, np.float32)),), (("age", np.zeros(4)),)],
    ids=["none", "another shape", "another dtype"],
)  # fmt: skip
def test_a_broken_promise_names_the_row(table, tmp_path, threads, made):
    recipe = Recipe((Resize(8, 8), Liar(made)))

    with pytest.raises(TransformError, match=r"row 0 .*it made age of .* promised"):
        scenes.build(table, tmp_path / "a.zarr", threads, recipe=recipe)


def test_one_row_may_become_several_samples(tmp_path, table, threads):
    recipe = Recipe((Resize(16, 16), Twice()))

    samples = scenes.build(
        table, tmp_path / "a.zarr", threads, shard=6, chunk=3, recipe=recipe, max_failed=1
    )

    assert len(samples) == 80
    assert samples.array("row").tolist() == [i // 2 for i in range(80)]
    assert samples.array("part").tolist() == [0, 1] * 40
    assert samples.rows["first_sample"].tolist() == list(range(0, 80, 2))
    np.testing.assert_array_equal(samples.image[0::2], samples.image[1::2][:, ::-1])
    assert samples.failures["sample"].tolist() == [10, 11, 34, 35]
    assert daskimg.verify_store(str(tmp_path / "a.zarr"), rows=20).findings == ()


def test_a_decoder_of_the_users_own_is_used_and_named(tmp_path, table, threads):
    recipe = Recipe((Resize(8, 8),), decoder=eight_by_eight)

    with pytest.raises(TransformError, match=r"eight_by_eight \(the decoder\) failed on row 5"):
        scenes.build(table, tmp_path / "a.zarr", threads, recipe=recipe)

    good = table.drop(index=[5, 17])
    samples = scenes.build(good, tmp_path / "b.zarr", threads, recipe=recipe)
    content = Path(table["path"][0]).read_bytes()
    np.testing.assert_array_equal(samples.image[0], eight_by_eight(content))


@dataclass(frozen=True)
class NoList:
    def resolve(self, spec):
        return spec

    def __call__(self, sample):
        return [sample]


def test_a_transform_that_resolves_to_no_list_is_named_with_what_to_write():
    message = r"NoList.resolve\(spec\) must return a list of Spec, got Spec; write return \["

    with pytest.raises(daskimg.OptionError, match=message):
        Recipe([Resize(8, 8), NoList()]).outputs()
    with pytest.raises(AssertionError, match=message):
        daskimg.check_transform(NoList())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(Resize(4, 4)), r"must be a list, got Resize; try Recipe\(\[Resize"),
        (
            lambda: Recipe([Resize(4, 4)], decoder=3),
            "decoder must be a function of bytes, got int 3",
        ),
        (lambda: daskimg.preview_rows(None, [1]), "recipes must be a recipe, or several by name"),
        (lambda: daskimg.normalize([[1]]), "images must be a NumPy array, got list"),
        (
            lambda: daskimg.export_samples(None, "e", "png"),
            "options cannot be str 'png'; try format=",
        ),
        (lambda: daskimg.export_samples(None, "e"), "an export needs a format, one of png, jpeg"),
        (lambda: daskimg.export_samples(None, "e", form="png"), "there is no option 'form'"),
    ],
)
def test_arguments_of_another_type_are_refused_with_what_would_work(make, message):
    with pytest.raises(daskimg.OptionError, match=message):
        make()
