from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.recipe import Recipe
from daskimg.transforms import (
    GREY_MODES,
    Concatenate,
    Fit,
    Flip,
    MinSize,
    Mirror,
    Modes,
    RandomMirror,
    Resize,
    Rotate,
    Sample,
    Spec,
    SquareCrop,
    Target,
    TargetSpec,
    Tiles,
    apply_affine,
    nested_steps,
    resolve_chain,
)

SPEC = Spec(None, None, 3, "uint8")
POINTS = TargetSpec("keypoint", "points", ("joint", "xy"), (4, 2), "float32")
JOINTS = TargetSpec("visible", "joints", ("joint",), (4,), "uint8")
PAIRS = ((0, 1), (2, 3))
TURNS = [
    pytest.param(Mirror(PAIRS), lambda a: a[:, ::-1], id="mirror"),
    pytest.param(Flip(PAIRS), lambda a: a[::-1], id="flip"),
    pytest.param(Rotate(), lambda a: np.rot90(a), id="quarter"),
    pytest.param(Rotate(2), lambda a: a[::-1, ::-1], id="half"),
    pytest.param(Rotate(-1), lambda a: np.rot90(a, 3), id="clockwise"),
    pytest.param(Rotate(4), lambda a: a, id="all round"),
    pytest.param(RandomMirror(1, PAIRS), lambda a: a[:, ::-1], id="always mirrored"),
    pytest.param(RandomMirror(0, PAIRS), lambda a: a, id="never mirrored"),
]
quick = settings(max_examples=25, deadline=None)
lengths = st.integers(1, 20)


def numbered(height, width):
    """A picture whose pixels are all different."""
    return np.arange(height * width, dtype=np.uint16).reshape(height, width, 1) + 1


def one(transform, array, **fields):
    (made,) = transform(Sample(Picture.from_array(array), **fields))
    return made


@pytest.mark.parametrize(("transform", "wanted"), TURNS)
@quick
@given(height=lengths, width=lengths)
def test_pictures_and_masks_are_turned_to_the_last_pixel(transform, wanted, height, width):
    array = numbered(height, width)

    made = one(transform, array, targets={"mask": Target("mask", array)})
    (spec,) = transform.resolve(replace(SPEC, height=height, width=width))

    npt.assert_array_equal(made.image.array(), wanted(array))
    npt.assert_array_equal(made.targets["mask"].array, wanted(array))
    assert (spec.height, spec.width) == made.image.array().shape[:2]


@pytest.mark.parametrize(("transform", "wanted"), TURNS)
@quick
@given(height=lengths, width=lengths, seed=st.integers(0, 99))
def test_points_go_where_their_pixels_go(transform, wanted, height, width, seed):
    rng = np.random.default_rng(seed)
    y, x = rng.integers(height, size=4), rng.integers(width, size=4)
    array = numbered(height, width)
    points = np.stack([x, y], 1).astype(np.float32) + 0.5
    targets = {"keypoint": Target("points", points), "visible": Target("joints", array[y, x, 0])}

    made = one(transform, array, targets=targets)

    across, down = made.targets["keypoint"].array.T.astype(int)
    npt.assert_array_equal(made.image.array()[down, across, 0], made.targets["visible"].array)
    npt.assert_array_equal(
        sorted(map(tuple, made.targets["keypoint"].array)),
        sorted(map(tuple, apply_affine(made.affine, points))),
    )


@pytest.mark.parametrize("transform", [Mirror(PAIRS), Flip(PAIRS), RandomMirror(1, PAIRS)])
def test_left_and_right_joints_change_places(transform):
    targets = {
        "keypoint": Target("points", np.zeros((5, 2), np.float32)),
        "visible": Target("joints", np.array([1, 2, 3, 4, 5], np.uint8)),
        "age": Target("values", np.array([1, 2, 3, 4])),
    }

    made = one(transform, numbered(3, 3), targets=targets)

    assert made.targets["visible"].array.tolist() == [2, 1, 4, 3, 5]
    assert made.targets["age"].array.tolist() == [1, 2, 3, 4]
    assert targets["visible"].array.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [Mirror, Flip, RandomMirror])
@pytest.mark.parametrize("target", [POINTS, JOINTS], ids=["points", "joints"])
def test_mirrored_points_need_pairs(kind, target):
    spec = replace(SPEC, targets=(target,))

    assert kind(pairs=PAIRS).resolve(spec) == [spec]
    with pytest.raises(OptionError, match="try pairs ="):
        kind().resolve(spec)
    with pytest.raises(OptionError, match=r"up to joint 9, and .* has 4 joints"):
        kind(pairs=((0, 9),)).resolve(spec)


@pytest.mark.parametrize("pairs", [((0, 1, 2),), ((0, 1), (1, 2)), ((0, -1),), ((0, 0),), (0, 1)])
def test_pairs_that_are_none_are_refused(pairs):
    with pytest.raises(OptionError, match=r"try \[\[0, 5\], \[1, 4\]\]"):
        Mirror(pairs)


@quick
@given(height=lengths, width=lengths)
def test_a_square_is_cut_from_the_centre(height, width):
    array = numbered(height, width)
    side = min(height, width)

    made = one(SquareCrop(), array, targets={"mask": Target("mask", array)})

    top, left = (height - side) // 2, (width - side) // 2
    npt.assert_array_equal(made.image.array(), array[top : top + side, left : left + side])
    npt.assert_array_equal(made.targets["mask"].array, made.image.array())
    assert apply_affine(made.affine, np.array([left, top], float)).tolist() == [0, 0]
    assert SquareCrop().resolve(replace(SPEC, height=height, width=width))[0].height == side


def test_a_square_of_unknown_side_is_settled_by_a_resize():
    mask = TargetSpec("mask", "mask", ("h", "w", "c"), (50, 60, 1), "uint8")

    (square,) = SquareCrop().resolve(replace(SPEC, targets=(mask,)))
    (spec,) = resolve_chain((SquareCrop(), Resize(8, 8)), replace(SPEC, targets=(mask,)))

    assert (square.height, square.width) == (None, None)
    assert (spec.height, spec.width, spec.targets[0].shape) == (8, 8, (8, 8, 1))


@quick
@given(height=lengths, width=lengths)
def test_small_pictures_are_dropped(height, width):
    transform = MinSize(5, 9)

    made = transform(Sample(Picture.from_array(numbered(height, width))))
    specs = transform.resolve(replace(SPEC, height=height, width=width))

    assert len(made) == len(specs) == (height >= 5 and width >= 9)


def test_modes_are_kept_or_dropped():
    def kept(transform, mode):
        made = transform(Sample(Picture.from_array(numbered(2, 2)), mode=mode))
        assert len(transform.resolve(replace(SPEC, mode=mode or None))) == len(made)
        return len(made) == 1

    assert [kept(Modes(), mode) for mode in ("RGB", "P", "L", "1", "I;16", "")] == [
        True, True, False, False, False, True,
    ]  # fmt: skip
    assert [kept(Modes(keep=("CMYK",)), mode) for mode in ("CMYK", "RGB", "L")] == [1, 0, 0]
    assert kept(Modes(keep=("L",), drop=()), "L")


def test_filters_keep_what_they_cannot_judge_and_say_so():
    assert MinSize(5, 9).resolve(SPEC) == Modes().resolve(SPEC) == [SPEC]
    assert MinSize.by_size
    assert Modes.by_size


def test_a_branch_each_gives_its_samples_in_turn():
    array = numbered(4, 6)
    transform = Concatenate(((), (Mirror(),), (Tiles(2, 6), Flip())))

    made = transform(Sample(Picture.from_array(array), row=7))

    wanted = [array, array[:, ::-1], array[1::-1], array[:1:-1]]
    assert len(made) == 4
    for sample, picture in zip(made, wanted, strict=True):
        npt.assert_array_equal(sample.image.array(), picture)
        assert sample.row == 7
    assert [spec.height for spec in transform.resolve(replace(SPEC, height=4, width=6))] == [
        4, 4, 2, 2,
    ]  # fmt: skip


def test_branches_do_not_share_their_random_numbers():
    sample = Sample(Picture.from_array(numbered(1, 2)), seed=5)
    mirror = RandomMirror()
    transform = Concatenate(((mirror,),) * 64)

    mirrored = [int(made.affine[0, 0]) for made in transform(sample)]

    assert 16 < mirrored.count(-1) < 48
    assert [int(made.affine[0, 0]) for made in transform(sample)] == mirrored


def test_branches_share_nothing_that_a_later_step_changes():
    sample = Sample(Picture.from_array(numbered(2, 2)))

    first, second = Concatenate(((), ()))(sample)
    first.part, first.targets["age"] = 9, Target("values", np.ones(1))

    assert second.part != 9
    assert "age" not in second.targets
    assert "age" not in sample.targets


def test_branches_say_what_their_steps_say():
    class Reader(Fit):
        columns = ("scale",)

    nested = Concatenate(((Resize(8, 9),), (Concatenate(((Reader(20, 30),),)),)))

    assert not nested.by_size
    assert Concatenate(((), (Tiles(2, 2),))).by_size
    assert nested.columns == ("scale",)
    assert nested.least(100, 100) == (20, 20)
    assert Concatenate(((Resize(8, 8),), ())).least(100, 90) == (100, 90)
    assert len(list(nested_steps([nested]))) == 4


def test_a_branch_without_a_rule_for_a_target_is_refused():
    with pytest.raises(OptionError, match="try pairs ="):
        resolve_chain((Concatenate(((), (Mirror(),))),), replace(SPEC, targets=(POINTS,)))


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        pytest.param(lambda: Rotate(1.5), "whole number of turns", id="part of a quarter"),
        pytest.param(lambda: MinSize(0, 5), "height must be", id="no height"),
        pytest.param(lambda: Modes(keep=("L",)), r"give drop = \[\]", id="kept and dropped"),
        pytest.param(lambda: Modes(drop=()), "leave modes out", id="nothing dropped"),
        pytest.param(lambda: Modes(drop="RGB"), "a list of modes", id="text"),
        pytest.param(lambda: RandomMirror(2), "0 to 1", id="no probability"),
        pytest.param(lambda: Concatenate(()), "lists of transforms", id="no branch"),
        pytest.param(lambda: Concatenate((Mirror(),)), "a branch is a list", id="flat"),
        pytest.param(lambda: Concatenate(((Mirror,),)), "not a transform", id="a class"),
    ],
)
def test_bad_options_are_refused_with_advice(make, advice):
    with pytest.raises(OptionError, match=advice):
        make()


@pytest.mark.parametrize(
    "transform",
    [
        Mirror(PAIRS),
        Flip(),
        RandomMirror(0.3, PAIRS),
        Rotate(3),
        SquareCrop(),
        MinSize(3, 4),
        Modes(("RGB",)),
        Modes(drop=GREY_MODES[:3]),
    ],
)
def test_turns_and_filters_go_to_toml_and_back(transform):
    recipe = Recipe((transform,))

    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.to_dict()["transform"][0]["name"].islower()
