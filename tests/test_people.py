"""Where a person is cut out, and that picture, mask and joints go there together."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from daskimg.decode import Picture, decode
from daskimg.errors import OptionError, PlanError, SampleError
from daskimg.options import DecodeOptions
from daskimg.recipe import Recipe
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import (
    MPII_JOINTS,
    MPII_PAIRS,
    Heatmaps,
    PersonCrop,
    Resize,
    Sample,
    Spec,
    Target,
    apply_affine,
    resolve_chain,
)

quick = settings(max_examples=25, deadline=None)
SPEC = Spec(None, None, 3, "uint8", (*Keypoints().specs(), *MaskFile().specs()))
BY_JOINTS = PersonCrop(64, 64, region="joints", margin=0)
HEATMAPS = Heatmaps(16, 24, sigma=1.5)


def standing(center, scale, height=300, width=400, **fields):
    """A person by centre and scale, in a black picture."""
    black = Picture.from_array(np.zeros((height, width, 3), np.uint8))
    return Sample(black, cells={"center": center, "scale": scale}, **fields)


def jointed(points, visible=None, height=300, width=400, **fields):
    """A person by their joints."""
    points = np.array(points, np.float32)
    visible = np.ones(len(points), np.uint8) if visible is None else np.array(visible, np.uint8)
    targets = {"keypoint": Target("points", points), "visible": Target("joints", visible)}
    return replace(standing([0, 0], 1, height, width), targets=targets, **fields)


def region(transform, sample):
    """The source's (left, top, right, bottom) that the output shows, by its affine."""
    (made,) = transform(sample)
    corners = np.array([[0, 0, 1], [transform.width, transform.height, 1]])
    back = np.linalg.inv(np.vstack([made.affine, [0, 0, 1]]))
    return (corners @ back.T)[:, :2].reshape(-1)


# -- regions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"margin": 0}, [150, 100, 250, 200], id="as high as the person"),
        pytest.param({}, [137.5, 87.5, 262.5, 212.5], id="a quarter more"),
        pytest.param({"margin": -0.5}, [175, 125, 225, 175], id="half of it"),
        pytest.param({"margin": 0, "width": 512}, [100, 100, 300, 200], id="a wide output"),
        pytest.param({"margin": 0, "height": 512}, [150, 50, 250, 250], id="a high output"),
        pytest.param(
            {"margin": 0, "width": 512, "stretch": True}, [150, 100, 250, 200], id="stretched"
        ),
    ],
)
def test_a_person_of_scale_one_is_two_hundred_pixels_high(options, expected):
    got = region(PersonCrop(**options), standing([200, 150], 0.5))

    npt.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [90, 50, 210, 170], id="extended to a square"),
        pytest.param({"stretch": True}, [130, 50, 170, 170], id="stretched"),
        pytest.param({"margin": 0.5}, [60, 20, 240, 200], id="with a margin"),
    ],
)
def test_the_joints_box_is_that_of_the_visible_ones(options, expected):
    sample = jointed([[130, 50], [170, 170], [399, 299], [np.nan, np.nan]], [1, 1, 0, 0])

    got = region(replace(BY_JOINTS, **options), sample)

    npt.assert_allclose(got, expected, atol=1e-9)


def test_a_region_is_clipped_to_the_picture():
    got = region(PersonCrop(margin=0), standing([390, 10], 1))

    npt.assert_allclose(got, [290, 0, 400, 110], atol=1e-9)


@quick
@given(
    x=st.floats(-50, 450), y=st.floats(-50, 350), scale=st.floats(0.02, 5), stretch=st.booleans()
)
def test_every_region_is_inside_the_picture_or_the_sample_fails(x, y, scale, stretch):
    transform = PersonCrop(8, 16, stretch=stretch)

    sample = standing([x, y], scale)
    try:
        left, top, right, bottom = region(transform, sample)
    except SampleError:
        left, top, right, bottom = 0, 0, 1, 1

    assert -1e-6 <= left < right <= 400 + 1e-6
    assert -1e-6 <= top < bottom <= 300 + 1e-6


def test_the_centre_is_the_sources_and_follows_what_came_before():
    half, person = Resize(150, 200), PersonCrop(64, 64)
    (smaller,) = half(standing([100, 80], 0.5))

    after = region(person, smaller)
    alone = region(person, standing([100, 80], 0.5))

    npt.assert_allclose(after, alone, atol=1e-9)


# -- what moves ---------------------------------------------------------------------------


@quick
@given(
    x=st.integers(101, 298),
    y=st.integers(51, 148),
    center=st.tuples(st.floats(180, 220), st.floats(90, 110)),
    by=st.sampled_from(["center", "joints"]),
)
def test_picture_mask_and_joints_go_to_the_same_place(x, y, center, by):
    image, mask = np.zeros((200, 400, 3), np.uint8), np.zeros((200, 400, 1), np.uint8)
    image[y - 1 : y + 1, x - 1 : x + 1] = 255  # its centre is the point (x, y)
    mask[y - 1 : y + 1, x - 1 : x + 1] = 9
    sample = jointed([[x, y], [90, 50], [310, 150]])
    sample.image = Picture.from_array(image)
    sample.targets["mask"] = Target("mask", mask)
    sample.cells = {"center": list(center), "scale": 1.2}

    (made,) = PersonCrop(256, 256, region=by, method="bilinear")(sample)

    moved = made.targets["keypoint"].array[0]
    npt.assert_allclose(moved, apply_affine(made.affine, np.array([x, y], float)), rtol=1e-6)
    npt.assert_allclose(moved, middle(made.image.array()[..., 0]), atol=0.3)
    npt.assert_allclose(moved, middle(made.targets["mask"].array[..., 0]), atol=0.5)
    assert set(np.unique(made.targets["mask"].array)) == {0, 9}
    npt.assert_array_equal(made.targets["visible"].array, [1, 1, 1])


def middle(levels):
    y, x = np.mgrid[: levels.shape[0], : levels.shape[1]] + 0.5
    weight = levels.astype(float)
    return [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]


def test_missing_joints_stay_missing():
    sample = jointed([[130, 50], [np.nan, np.nan], [170, 170]], [1, 0, 1])

    (made,) = BY_JOINTS(sample)

    assert np.isnan(made.targets["keypoint"].array).tolist() == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]
    assert made.targets["visible"].array.tolist() == [1, 0, 1]


def test_the_spec_is_the_outputs():
    (spec,) = resolve_chain((PersonCrop(48, 32),), SPEC)

    assert (spec.height, spec.width) == (48, 32)
    assert {target.name: target.shape for target in spec.targets} == {
        "keypoint": (16, 2),
        "visible": (16,),
        "mask": (48, 32, 1),
    }


# -- chance -------------------------------------------------------------------------------


def test_a_drawn_margin_depends_on_seed_row_and_part_only():
    drawn = PersonCrop(jitter=(0.1, 0.4))

    def width(**who):
        left, _, right, _ = region(drawn, standing([200, 150], 0.5, **who))
        return right - left

    widths = [width(), width(seed=1), width(row=1), width(part=1)]

    assert len(set(widths)) == 4
    assert all(110 <= w <= 140 for w in widths)
    assert width(seed=3, row=7) == width(seed=3, row=7)


@quick
@given(seed=st.integers(0, 2**64 - 1), row=st.integers(0, 2**40))
def test_without_jitter_nothing_is_drawn(seed, row):
    got = region(PersonCrop(margin=0), standing([200, 150], 0.5, seed=seed, row=row))

    npt.assert_allclose(got, [150, 100, 250, 200], atol=1e-9)


# -- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "sample", "words"),
    [
        pytest.param(
            PersonCrop(),
            standing([900, 40], 1),
            "the person at 775, -85 to 1025, 165 is not in a picture of 400 x 300",
            id="outside",
        ),
        pytest.param(PersonCrop(), standing(None, 1), "center holds no numbers: None", id="none"),
        pytest.param(
            PersonCrop(), standing([1, 2, 3], 1), "center must be 2 numbers, got 3", id="three"
        ),
        pytest.param(
            PersonCrop(), standing([1, 2], 0), r"no person: center \(1, 2\), scale 0", id="flat"
        ),
        pytest.param(
            PersonCrop(), standing([1, 2], np.nan), "no person: .*, scale nan", id="no scale"
        ),
        pytest.param(BY_JOINTS, jointed([[5, 5]], [0]), "no joint is visible", id="hidden"),
        pytest.param(BY_JOINTS, jointed([[5, 5]]), "the person at 5, 5 to 5, 5", id="a point"),
        pytest.param(
            BY_JOINTS, jointed([[np.nan] * 2]), "no joint is visible", id="visible nowhere"
        ),
    ],
)
def test_a_person_who_cannot_be_found_costs_one_sample(transform, sample, words):
    with pytest.raises(SampleError, match=f"target: {words}"):
        transform(sample)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"height": 0}, "height must be a whole number of at least 1, got 0; try 256"),
        ({"region": "face"}, "region must be one of center, joints; got 'face'"),
        ({"margin": -1}, "margin must be over -1, got -1; try 0.25"),
        ({"margin": float("nan")}, "margin must be over -1, got nan"),
        ({"jitter": (0.4, 0.1)}, r"that do not fall, got \[0.4, 0.1\]; try \[0.1, 0.4\]"),
        ({"jitter": (0.1,)}, r"jitter must be two margins"),
        ({"method": "area52"}, "method must be one of nearest, box"),
    ],
)
def test_options_are_refused_with_advice(options, words):
    with pytest.raises(OptionError, match=words):
        PersonCrop(**options)


def test_a_crop_by_joints_needs_joints():
    with pytest.raises(OptionError, match=r"declare Keypoints\(\), or say region = 'center'"):
        resolve_chain((BY_JOINTS,), replace(SPEC, targets=MaskFile().specs()))


@pytest.mark.parametrize("step", [PersonCrop(jitter=(0.1, 0.4)), HEATMAPS, PersonCrop()], ids=str)
def test_the_steps_survive_toml(step):
    recipe = Recipe((step,))

    again = Recipe.from_dict(tomllib.loads(recipe.to_toml()))

    assert again == recipe


def test_the_columns_are_those_of_the_region():
    assert PersonCrop(center="middle").columns == ("middle", "scale")
    assert BY_JOINTS.columns == ()


# -- heatmaps -----------------------------------------------------------------------------


def test_a_heatmap_is_brightest_where_its_joint_went():
    sample = jointed([[130, 50], [399, 299], [np.nan] * 2], [1, 0, 0])

    (placed,) = Resize(64, 96)(sample)
    (made,) = HEATMAPS(placed)

    drawn = made.targets["heatmap"].array
    assert (drawn.shape, drawn.dtype) == ((16, 24, 3), np.float32)
    row, column = np.unravel_index(drawn[:, :, 0].argmax(), (16, 24))
    assert (row, column) == (int(50 / 300 * 16), int(130 / 400 * 24))
    assert drawn[:, :, 0].max() > 0.8
    assert not drawn[:, :, 1:].any()
    for name, target in placed.targets.items():
        npt.assert_array_equal(made.targets[name].array, target.array)


def test_the_spec_of_heatmaps_is_what_is_drawn():
    (spec,) = resolve_chain((PersonCrop(32, 32), HEATMAPS), SPEC)

    heatmap = spec.targets[-1]
    assert (heatmap.name, heatmap.kind, heatmap.dtype) == ("heatmap", "heatmap", "float32")
    assert heatmap.shape == (16, 24, 16)
    assert heatmap.axes == ("heatmap_height", "heatmap_width", "joint")
    assert (spec.height, spec.width) == (32, 32)


@pytest.mark.parametrize("step", [Resize(8, 8), PersonCrop(8, 8)], ids=["resize", "person"])
def test_no_geometry_may_follow_a_heatmap(step):
    with pytest.raises(PlanError, match="has no rule for heatmap, a target of kind heatmap"):
        resolve_chain((HEATMAPS, step), SPEC)


@pytest.mark.parametrize(
    ("steps", "targets", "words"),
    [
        pytest.param((HEATMAPS,), (), r"there are none; declare Keypoints\(\)", id="no target"),
        pytest.param(
            (HEATMAPS,),
            MaskFile("m", array="keypoint").specs() + Keypoints().specs()[1:],
            "needs the targets keypoint .points. and visible .joints., there are keypoint, vis",
            id="of another kind",
        ),
        pytest.param((HEATMAPS,) * 2, Keypoints().specs(), "leave one Heatmaps out", id="twice"),
    ],
)
def test_heatmaps_need_joints_once(steps, targets, words):
    with pytest.raises(OptionError, match=words):
        resolve_chain(steps, replace(SPEC, targets=targets))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "width must be a whole number of at least 1, got 0; try 64"),
        ({"sigma": 0}, "sigma must be a number of 0.01 to 1e6 pixels, got 0; try 2.0"),
        ({"sigma": float("inf")}, "got inf"),
    ],
)
def test_heatmaps_of_nothing_are_refused_with_advice(options, words):
    with pytest.raises(OptionError, match=words):
        Heatmaps(**options)


# -- MPII ---------------------------------------------------------------------------------


def test_mpiis_pairs_are_the_right_and_the_left_of_one_joint():
    names = [(MPII_JOINTS[right], MPII_JOINTS[left]) for right, left in MPII_PAIRS]

    assert [right.replace("right", "left") for right, _ in names] == [left for _, left in names]
    paired = {joint for pair in MPII_PAIRS for joint in pair}
    alone = [name for i, name in enumerate(MPII_JOINTS) if i not in paired]
    assert alone == ["pelvis", "thorax", "upper neck", "head top"]


@pytest.mark.parametrize("by", ["center", "joints"])
def test_all_joints_of_real_people_are_inside_their_region(shared, by):
    records = json.loads((shared / "mpii" / "validation.json").read_text())
    transform = PersonCrop(region=by)

    # By centre and scale, stretched limbs leave the square of 1 person in 10.
    for record in records if by == "joints" else records[:3]:
        content = (shared / "mpii" / "images" / record["image"]).read_bytes()
        picture, _ = decode(content, DecodeOptions())
        (made,) = transform(Sample(picture, cells=record, targets=Keypoints().read(record)))
        seen = made.targets["keypoint"].array[made.targets["visible"].array > 0]

        assert len(seen) >= 14
        assert ((seen > 0) & (seen < 256)).all()
        expected = np.array(record["joints"])[np.array(record["joints_vis"]) > 0]
        npt.assert_allclose(seen, apply_affine(made.affine, expected), atol=1e-3)


def test_a_jpegs_person_has_pillows_bits(shared):
    record = json.loads((shared / "mpii" / "validation.json").read_text())[1]
    path = shared / "mpii" / "images" / record["image"]
    sample = Sample(decode(path.read_bytes(), DecodeOptions())[0], cells=record)

    (made,) = PersonCrop()(sample)

    (x, y), half = record["center"], 100 * 1.25 * record["scale"]
    with Image.open(path) as whole:
        box = (
            max(x - half, 0),
            max(y - half, 0),
            min(x + half, whole.width),
            min(y + half, whole.height),
        )
        expected = np.asarray(whole.convert("RGB").resize((256, 256), box=box))
    npt.assert_array_equal(made.image.array(), expected)
