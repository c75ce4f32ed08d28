import pickle
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg import recipes
from daskimg.compiling import Rent
from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.noise import gaussian_noise
from daskimg.recipe import Recipe
from daskimg.tiles import join_tiles
from daskimg.transforms import (
    STREAMS,
    NoiseFit,
    NoiseFrames,
    Resize,
    Sample,
    Spec,
    Target,
    TargetSpec,
    Tiles,
    apply_affine,
    resolve_chain,
)

SPEC = Spec(None, None, 3, "uint8")
quick = settings(max_examples=25, deadline=None)
lengths = st.integers(1, 40)
tile_sizes = st.integers(1, 12)


def source(height, width, channels=3, dtype="uint8"):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(1, 255, (height, width, channels)).astype(dtype)


def cut(transform, array, **fields):
    return transform(Sample(Picture.from_array(array), **fields))


def stacked(samples):
    image = np.stack([sample.image.array() for sample in samples])
    return image, np.stack([sample.affine for sample in samples]).astype(np.float32)


@quick
@given(height=lengths, width=lengths, tall=tile_sizes, wide=tile_sizes)
def test_classic_tiles_are_the_full_grid_row_by_row(height, width, tall, wide):
    array = source(height, width)

    made = cut(Tiles(tall, wide), array)

    wanted = [
        array[top : top + tall, left : left + wide]
        for top in range(0, height - tall + 1, tall)
        for left in range(0, width - wide + 1, wide)
    ]
    assert len(made) == (height // tall) * (width // wide)
    for sample, tile in zip(made, wanted, strict=True):
        npt.assert_array_equal(sample.image.array(), tile)


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
@quick
@given(
    height=lengths, width=lengths, tall=tile_sizes, wide=tile_sizes,
    stride=st.none() | st.integers(1, 15) | st.tuples(st.integers(1, 15), st.integers(1, 15)),
)  # fmt: skip
def test_there_are_as_many_tiles_as_promised_and_of_the_promised_size(
    edge, height, width, tall, wide, stride
):
    transform = Tiles(tall, wide, stride, edge)

    specs = transform.resolve(replace(SPEC, height=height, width=width))
    made = cut(transform, source(height, width))

    assert len(made) == len(specs)
    assert all(sample.image.array().shape == (tall, wide, 3) for sample in made)
    assert all((spec.height, spec.width) == (tall, wide) for spec in specs)


def test_of_an_unknown_size_one_tile_stands_for_all():
    specs = Tiles(8, 9).resolve(SPEC)

    assert [(spec.height, spec.width) for spec in specs] == [(8, 9)]
    assert Tiles.by_size
    assert NoiseFrames.by_size


def test_tiles_are_views_and_cost_no_pixels():
    array = source(64, 64)

    made = cut(Tiles(16, 16), array)

    assert len(made) == 16
    array[0, 0] = 0  # what nobody else may do: the first tile sees it
    assert (made[0].image.array()[0, 0] == 0).all()


def test_a_picture_of_pillow_becomes_an_array_once(monkeypatch):
    picture = Picture(scenes.picture(1, 40, 50), 3)
    wanted = np.asarray(scenes.picture(1, 40, 50))

    made = Tiles(20, 25)(Sample(picture))

    assert len({id(sample.image._pixels.base) for sample in made}) == 1
    npt.assert_array_equal(made[3].image.array(), wanted[20:, 25:])
    npt.assert_array_equal(picture.resized(7, 9).array(), scenes.picture(1, 40, 50).resize((9, 7)))


def test_a_grey_picture_gives_tiles_of_three_equal_channels():
    picture = Picture(scenes.picture(1, 40, 50).convert("L"), 3)

    made = Tiles(20, 25, edge="pad", fill=(9, 8, 7), stride=24)(Sample(picture))

    array = made[-1].image.array()
    assert array.shape == (20, 25, 3)
    assert array[-1, -1].tolist() == [9, 8, 7]
    assert (array[0, 0] == array[0, 0, 0]).all()


def test_windows_outside_the_picture_or_of_a_reduced_one_are_refused():
    whole = Picture.from_array(source(8, 8))
    reduced = Picture(source(8, 8), 3, (16, 16), 2)

    with pytest.raises(ValueError, match="has no 4 x 4 at row 5"):
        whole.window(5, 0, 4, 4)
    with pytest.raises(ValueError, match="use resized"):
        reduced.window(0, 0, 4, 4)


def test_padding_has_its_colour_and_masks_their_own():
    mask = np.full((5, 7, 1), 3, np.uint8)

    made = cut(
        Tiles(4, 4, edge="pad", fill=(1, 2, 3)),
        source(5, 7),
        targets={"mask": Target("mask", mask, 255)},
    )

    assert len(made) == 4
    assert made[3].image.array()[-1, -1].tolist() == [1, 2, 3]
    assert made[3].targets["mask"].array[..., 0].tolist() == [
        [3, 3, 3, 255],
        [255] * 4,
        [255] * 4,
        [255] * 4,
    ]


def test_a_last_tile_is_shifted_to_the_edge():
    made = cut(Tiles(4, 4, edge="shift"), source(4, 10))

    assert [-sample.affine[0, 2] for sample in made] == [0, 4, 6]
    assert cut(Tiles(4, 4, edge="shift"), source(3, 10)) == []


@quick
@given(height=lengths, width=lengths, tall=tile_sizes, wide=tile_sizes)
def test_every_pixel_of_a_picture_is_once_in_its_noise_frames(height, width, tall, wide):
    array = source(height, width)

    made = cut(NoiseFrames(tall, wide), array)

    assert len(made) == -(-height // tall) * -(-width // wide)
    seen = np.zeros((height, width), int)
    for sample, (top, left) in zip(
        made,
        [(t, x) for t in range(0, height, tall) for x in range(0, width, wide)],
        strict=True,
    ):
        part = array[top : top + tall, left : left + wide]
        row, column = (tall - part.shape[0]) // 2, (wide - part.shape[1]) // 2
        inner = sample.image.array()[row : row + part.shape[0], column : column + part.shape[1]]
        npt.assert_array_equal(inner, part)
        npt.assert_array_equal(
            apply_affine(sample.affine, np.array([left, top], float)), [column, row]
        )
        seen[top : top + tall, left : left + wide] += 1
    assert (seen == 1).all()


def test_noise_depends_on_seed_row_and_tile():
    def noise(tile, **fields):
        return cut(NoiseFrames(8, 8), np.zeros((9, 9, 3), np.uint8), **fields)[tile].image.array()

    different = [noise(1), noise(2), noise(3), noise(1, seed=1), noise(1, row=1), noise(1, part=1)]

    npt.assert_array_equal(noise(1, seed=3, row=5), noise(1, seed=3, row=5))
    assert len({array.tobytes() for array in different}) == 6


def test_the_frame_is_the_noise_of_the_contract():
    canvas = np.empty((8, 8, 3), np.uint8)
    gaussian_noise(
        canvas, seed=3, row=4, part=1, stream=STREAMS["noise-frames"], mean=90, std=9,
        compiled=False,
    )  # fmt: skip

    made = cut(NoiseFrames(8, 8, 90, 9), np.zeros((8, 9, 3), np.uint8), seed=3, row=4)

    canvas[:, 3] = 0  # one column, in the middle
    npt.assert_array_equal(made[1].image.array(), canvas)


def test_the_kernel_is_compiled_once_that_much_noise_was_drawn(monkeypatch):
    ways = []
    monkeypatch.setattr("daskimg.noise._MADE", Rent(1000))
    monkeypatch.setattr("daskimg.noise._fill", lambda *_: ways.append(False))
    monkeypatch.setattr("daskimg.noise._compiled", lambda *_: ways.append(True))

    cut(NoiseFrames(10, 10), np.zeros((5, 50, 3), np.uint8))

    assert ways == [False, False, False, True, True]


def test_whole_tiles_draw_no_noise(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "daskimg.transforms._noise.gaussian_noise",
        lambda out, **options: drawn.append(options["part"]),
    )

    cut(NoiseFrames(4, 4), source(8, 10))

    assert drawn == [2, 5]


def test_masks_and_points_are_framed_with_the_picture():
    mask = np.full((3, 6, 1), 7, np.uint8)
    targets = {
        "mask": Target("mask", mask, 9),
        "keypoint": Target("points", np.array([[5.5, 1.5]], np.float32)),
        "visible": Target("joints", np.array([1], np.uint8)),
    }

    made = cut(NoiseFrames(4, 4), source(3, 6), targets=targets)

    assert made[1].targets["mask"].array[..., 0].tolist() == [[9, 7, 7, 9]] * 3 + [[9] * 4]
    assert made[1].targets["keypoint"].array.tolist() == [[2.5, 1.5]]
    assert made[1].targets["visible"].array.tolist() == [1]


@pytest.mark.parametrize(
    "kind", [pytest.param(NoiseFrames, id="frames"), pytest.param(NoiseFit, id="fit")]
)
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_noise_behind_a_wider_dtype_is_refused_with_advice(kind, dtype):
    with pytest.raises(OptionError, match="leave out --dtype"):
        resolve_chain((kind(8, 8),), replace(SPEC, dtype=dtype))


def test_tiles_and_then_a_resize_is_fine():
    (spec,) = resolve_chain((Tiles(128, 128), Resize(64, 64)), SPEC)

    assert (spec.height, spec.width) == (64, 64)


def test_masks_are_cut_in_the_spec_as_well():
    target = TargetSpec("mask", "mask", ("h", "w", "c"), (50, 60, 1), "uint8")

    (spec,) = Tiles(8, 9).resolve(replace(SPEC, targets=(target,)))

    assert spec.targets[0].shape == (8, 9, 1)


@pytest.mark.parametrize(
    ("height", "width"), [(100, 300), (300, 100), (20, 30), (64, 64), (1, 500)]
)
def test_a_picture_fits_into_a_frame_of_noise(height, width):
    array = np.full((height, width, 3), 255, np.uint8)

    (made,) = cut(NoiseFit(64, 64), array, seed=1)

    scale = min(1, 64 / height, 64 / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (64 - tall) // 2, (64 - wide) // 2
    framed = made.image.array()
    assert (framed[top : top + tall, left : left + wide] == 255).all()
    frame = np.ones((64, 64), bool)
    frame[top : top + tall, left : left + wide] = False
    noise = framed[frame]
    assert noise.size == 0 or (noise == 255).mean() < 0.5
    npt.assert_allclose(apply_affine(made.affine, np.array([0.0, 0.0])), [left, top])


def test_fitted_pictures_can_be_enlarged():
    (made,) = cut(NoiseFit(64, 64, enlarge=True), np.zeros((16, 32, 3), np.uint8))

    assert (made.image.array()[16:48] == 0).all()
    assert made.image.array()[:16].any()


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@quick
@given(
    height=lengths, width=lengths, tall=tile_sizes, wide=tile_sizes,
    down=st.integers(0, 11), across=st.integers(0, 11),
)  # fmt: skip
def test_joining_undoes_cutting(dtype, edge, height, width, tall, wide, down, across):
    array = source(height, width, dtype=dtype)
    stride = max(1, tall - down), max(1, wide - across)  # at most the tile: no gaps

    made = cut(Tiles(tall, wide, stride, edge, fill=(0, 0, 0)), array)

    if edge == "pad" or (edge == "shift" and made):
        npt.assert_array_equal(join_tiles(*stacked(made), height=height, width=width), array)
    elif made:
        rows = (height - tall) // stride[0] * stride[0] + tall
        columns = (width - wide) // stride[1] * stride[1] + wide
        joined = join_tiles(*stacked(made), height=height, width=width, fill=0)
        npt.assert_array_equal(joined[:rows, :columns], array[:rows, :columns])
        assert not joined[rows:].any()
        assert not joined[:, columns:].any()


@quick
@given(height=lengths, width=lengths, tall=tile_sizes, wide=tile_sizes)
def test_joining_leaves_out_the_noise(height, width, tall, wide):
    array = source(height, width)

    made = cut(NoiseFrames(tall, wide), array)

    npt.assert_array_equal(join_tiles(*stacked(made), height=height, width=width), array)


@quick
@given(tall=tile_sizes, wide=tile_sizes, stride=st.integers(1, 30), height=lengths, width=lengths)
def test_any_stride_is_joined_where_it_covers(tall, wide, stride, height, width):
    array = source(height, width)
    made = cut(Tiles(tall, wide, stride, "pad"), array)

    joined = join_tiles(*stacked(made), height=height, width=width)

    down = (np.arange(height) % stride < tall)[:, None]
    across = np.arange(width) % stride < wide
    npt.assert_array_equal(joined, np.where((down & across)[:, :, None], array, 0))


@pytest.mark.parametrize(
    ("levels", "mean"),
    [([10, 11], 10), ([11, 12], 12), ([10, 11, 11], 11), ([254, 255, 255], 255), ([7], 7)],
)
def test_tiles_that_disagree_are_averaged_and_rounded_half_to_even(levels, mean):
    image = np.array(levels, np.uint8).reshape(-1, 1, 1, 1)
    affine = np.tile(np.eye(2, 3), (len(levels), 1, 1))

    assert join_tiles(image, affine, height=1, width=1).item() == mean


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param([[2, 0, 0], [0, 2, 0]], id="scaled"),
        pytest.param([[0, 1, 0], [1, 0, 0]], id="turned"),
        pytest.param([[1, 0, 0.5], [0, 1, 0]], id="half a pixel"),
        pytest.param([[1, 0, np.nan], [0, 1, 0]], id="none"),
    ],
)
def test_only_translations_can_be_joined(affine):
    with pytest.raises(OptionError, match="whole pixels only"):
        join_tiles(np.zeros((1, 4, 4, 3)), np.array([affine], float), height=4, width=4)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(OptionError, match=r"select both by the row's samples"):
        join_tiles(np.zeros((2, 4, 4, 3)), np.zeros((1, 2, 3)), height=4, width=4)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        pytest.param({"height": 0}, "try --size 128", id="no height"),
        pytest.param({"stride": 0}, "stride must be", id="no stride"),
        pytest.param({"stride": (1, 2, 3)}, "down, across", id="three strides"),
        pytest.param({"edge": "wrap"}, "drop, pad, shift", id="unknown edge"),
        pytest.param({"fill": (0, 0)}, "three levels", id="two levels"),
    ],
)
def test_bad_options_are_refused_with_advice(options, advice):
    with pytest.raises(OptionError, match=advice):
        Tiles(**{"height": 8, "width": 8, **options})


@pytest.mark.parametrize("kind", [NoiseFrames, NoiseFit])
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        pytest.param({"std": 0}, "std above 0", id="no spread"),
        pytest.param({"std": "wide"}, "try mean=127 and std=100", id="text"),
        pytest.param({"mean": float("nan")}, "a finite mean", id="no number"),
        pytest.param({"width": -3}, "at least 1", id="negative width"),
    ],
)
def test_bad_noise_is_refused_with_advice(kind, options, advice):
    with pytest.raises(OptionError, match=advice):
        kind(**{"height": 8, "width": 8, **options})


@pytest.mark.parametrize(
    "transform",
    [Tiles(8, 9, (4, 3), "pad", (1, 2, 3)), NoiseFrames(4, 5, 100.0, 20.0), NoiseFit(6, 7)],
)
def test_tiles_go_to_toml_and_pickle_and_back(transform):
    recipe = Recipe((transform,))

    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert pickle.loads(pickle.dumps(transform)) == transform


def test_the_named_recipes_have_the_sizes_of_the_contract():
    for name, kind in (("tiles", Tiles), ("noise-frames", NoiseFrames)):
        assert recipes.read_recipe(name).transforms == (kind(128, 128),)
        assert recipes.read_recipe(name, (32, 48)).transforms == (kind(32, 48),)
