import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import numpy.testing as npt
import pytest
import shelves

import daskimg

COUNT = 103
LIBRARIES = ("torch", "jax", "tensorflow")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    url = tmp_path_factory.mktemp("adapters") / "a"
    status = [2 if i in (5, 17) else 1 for i in range(COUNT)]
    shelves.write_store(
        url, shelves.pictures(COUNT, 12, 10), shard=20, chunk=5,
        label=np.arange(COUNT) % 5, status=status, mask=shelves.pictures(COUNT, 20, 20, 1),
    )  # fmt: skip
    return daskimg.open_store(url)


def same(batch, wanted):
    for name in ("image", "label", "sample", "valid"):
        npt.assert_array_equal(np.asarray(getattr(batch, name)), getattr(wanted, name))
    assert list(batch.targets) == list(wanted.targets)
    for name, array in wanted.targets.items():
        npt.assert_array_equal(np.asarray(batch.targets[name]), array)


def all_same(batches, wanted):
    for batch, other in zip(batches, wanted, strict=True):
        same(batch, other)


SETTINGS = {
    "shuffle": True,
    "seed": 3,
    "targets": ["mask"],
    "augment": daskimg.Augment(brightness=0.4),
    "dtype": "float32",
    "layout": "chw",
}


# -- without any library -------------------------------------------------------------------


def test_reading_imports_none_of_the_libraries(samples):
    script = (
        "import sys, daskimg\n"
        "samples = daskimg.open_store(sys.argv[1])\n"
        "next(samples.batches(4)), samples.take([3])\n"
        f"print(sorted({set(LIBRARIES)} & set(sys.modules)))"
    )

    found = subprocess.run(
        [sys.executable, "-c", script, samples.url], capture_output=True, text=True, check=True
    )

    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("library", "use"),
    [
        ("torch", lambda s: s.to_torch(8)),
        ("torch", lambda s: s.to_torch_map()),
        ("jax", lambda s: s.to_jax(8)),
        ("tensorflow", lambda s: s.to_tf(8)),
    ],
    ids=["torch", "torch map", "jax", "tensorflow"],
)
def test_a_library_that_is_not_there_is_named(samples, monkeypatch, library, use):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"daskimg.adapters.{library}", raising=False)

    with pytest.raises(daskimg.OptionError, match=rf"pip install 'daskimg\[{library}\]'"):
        use(samples)


def test_samples_are_taken_by_number_in_the_order_given(samples):
    (whole,) = samples.batches(COUNT, failed="keep", targets=["mask"])

    batch = samples.take([7, 100, 5, 7], targets=["mask"])

    assert batch.sample.tolist() == [7, 100, 5, 7]
    assert batch.valid.tolist() == [True, True, False, True]
    npt.assert_array_equal(batch.image, whole.image[[7, 100, 5, 7]])
    npt.assert_array_equal(batch.label, [2, 0, 0, 2])
    npt.assert_array_equal(batch.targets["mask"], whole.targets["mask"][[7, 100, 5, 7]])
    view = samples.select(rows=range(50, 60))
    npt.assert_array_equal(view.take([3]).image, whole.image[[53]])
    for places in ([103], [-1], [[1]]):
        with pytest.raises(daskimg.OptionError, match="take needs numbers of samples, 0 to 102"):
            samples.take(places)


@pytest.mark.parametrize("turns", [1, 2, 3, 20])
def test_batches_are_shared_in_turns(samples, turns):
    whole = list(samples.batches(12, shuffle=True))

    parts = [samples.batches(12, shuffle=True).every(turns, turn) for turn in range(turns)]

    lengths = [len(part) for part in parts]
    found = [list(part) for part in parts]
    assert lengths == [len(part) for part in found]
    assert sum(lengths) == len(whole)
    all_same([found[i % turns][i // turns] for i in range(len(whole))], whole)


# -- torch ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch: pip install torch")


@pytest.mark.parametrize("device", [None, "cpu"])
def test_torch_is_given_the_same_batches(torch, samples, device):
    batches = samples.to_torch(12, device=device, **SETTINGS)

    for epoch in (0, 1, 1):
        batches.set_epoch(epoch)
        found = list(batches)
        all_same(found, samples.batches(12, epoch=epoch, **SETTINGS))

    assert len(batches) == len(found) == 9
    assert isinstance(found[0].image, torch.Tensor)
    assert (found[0].image.dtype, found[0].sample.dtype) == (torch.float32, torch.int64)


def test_a_batch_ahead_on_a_device_does_not_count_as_given(torch, samples):
    batches = samples.to_torch(12, device="meta", **SETTINGS)  # a device that holds no values
    plain = samples.batches(12, **SETTINGS)

    for batch, wanted in zip(batches, plain, strict=True):
        assert batch.image.device.type == "meta"
        assert batch.image.shape == wanted.image.shape
        assert batches.state_dict() == plain.state_dict()


def test_torch_may_reuse_memory_where_nothing_is_ahead(torch, samples):
    batches = samples.to_torch(12, device="cpu", reuse=True, **SETTINGS)

    all_same(batches, samples.batches(12, **SETTINGS))


def test_torch_is_given_views(torch, samples):
    view = samples.select(classes=[1, 3])
    settings = {"balance": "label", "seed": 2}

    all_same(view.to_torch(12, **settings), view.batches(12, **settings))


@pytest.mark.parametrize("device", [None, "cpu"])
def test_torch_goes_on_where_it_was_left(samples, torch, device):
    whole = list(samples.batches(12, epoch=2, **SETTINGS))
    first = samples.to_torch(12, device=device, epoch=2, **SETTINGS)
    for count, _ in enumerate(first, 1):
        if count == 4:
            break
    state = pickle.loads(pickle.dumps(first.state_dict()))
    again = samples.to_torch(12, device=device, **SETTINGS)

    again.load_state_dict(state)

    assert again.state_dict() == state
    all_same(again, whole[4:])
    all_same(again, whole)  # the iteration behind it begins anew


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_neither_repeat_nor_lose_nor_reorder(torch, samples, start):
    batches = samples.to_torch(12, **SETTINGS)
    next(iter(batches))  # maps, threads and kernels are there before the fork
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=2, multiprocessing_context=start,
        persistent_workers=True,
    )  # fmt: skip

    for epoch in (0, 1):
        batches.set_epoch(epoch)  # workers that live on hear of it
        all_same(loader, samples.batches(12, epoch=epoch, **SETTINGS))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_live_on_hear_of_a_state(torch, samples, start):
    settings = SETTINGS | {"seed": 2**64 - 2}
    whole = list(samples.batches(12, epoch=1, **settings))
    first = samples.to_torch(12, epoch=1, **settings)
    for count, _ in enumerate(first, 1):
        if count == 3:
            break
    batches = samples.to_torch(12, **settings)
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=2, multiprocessing_context=start,
        persistent_workers=True,
    )  # fmt: skip

    all_same(loader, samples.batches(12, **settings))
    batches.load_state_dict(first.state_dict())

    all_same(loader, whole[3:])
    all_same(loader, whole)  # the iteration behind it begins anew
    batches.set_epoch(0)
    all_same(loader, samples.batches(12, **settings))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_go_on_where_a_state_without_workers_was_taken(torch, samples, workers):
    whole = list(samples.batches(12, **SETTINGS))
    first = samples.to_torch(12, **SETTINGS)
    for count, _ in enumerate(first, 1):
        if count == 3:
            break
    again = samples.to_torch(12, **SETTINGS)
    loader = torch.utils.data.DataLoader(
        again, batch_size=None, num_workers=workers, multiprocessing_context="fork"
    )

    again.load_state_dict(first.state_dict())

    all_same(loader, whole[3:])
    again.set_epoch(1)
    all_same(loader, samples.batches(12, epoch=1, **SETTINGS))  # new workers go on no more


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_state_is_refused_where_it_says_nothing(torch, samples, monkeypatch):
    from daskimg.adapters import torch as adapter

    batches = samples.to_torch(12, **SETTINGS)
    state = batches.state_dict()
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    list(loader)

    with pytest.raises(daskimg.OptionError, match="read in worker processes, so where they"):
        batches.state_dict()
    batches.load_state_dict(state)
    assert batches.state_dict() == state
    with pytest.raises(daskimg.OptionError, match="of worker 1 of 2, and this is no worker"):
        batches.load_state_dict(state | {"worker": [1, 2]})
    monkeypatch.setattr(adapter, "get_worker_info", lambda: SimpleNamespace(id=1, num_workers=3))
    with pytest.raises(daskimg.OptionError, match="of 2, and this is worker 1 of 3"):
        batches.load_state_dict(state | {"worker": [1, 2]})


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 calls it
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_stateful_loader_goes_on_where_it_was_left(torch, samples):
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    whole = list(samples.batches(12, **SETTINGS))

    for workers in (0, 2):
        loaders = [
            torchdata.StatefulDataLoader(
                samples.to_torch(12, **SETTINGS), batch_size=None, num_workers=workers
            )
            for _ in range(2)
        ]
        for count, _ in enumerate(loaders[0], 1):
            if count == 5:
                break
        loaders[1].load_state_dict(loaders[0].state_dict())

        all_same(loaders[1], whole[5:])


def test_ranks_of_torch_come_from_the_environment(torch, samples, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")

    all_same(samples.to_torch(12), samples.batches(12, rank=1, world=3))
    all_same(samples.to_torch(12, rank=0, world=1), samples.batches(12))


def test_ranks_of_torch_come_from_its_process_group(torch, samples, tmp_path):
    script = (
        "import sys, daskimg, torch\n"
        "url, place, rank = sys.argv[1:]\n"
        "torch.distributed.init_process_group(\n"
        "    'gloo', init_method=f'file://{place}', rank=int(rank), world_size=2)\n"
        "batches = daskimg.open_store(url).to_torch(12, shuffle=True)\n"
        "print([n for batch in batches for n in batch.sample.tolist()])\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, samples.url, str(tmp_path / "group"), str(rank)],
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip

    outputs = [process.communicate(timeout=100)[0] for process in started]

    for rank, output in enumerate(outputs):
        wanted = samples.batches(12, shuffle=True, rank=rank, world=2)
        assert output.strip() == str([n for batch in wanted for n in batch.sample.tolist()])


def test_reused_memory_is_refused_in_workers(torch, samples):
    loader = torch.utils.data.DataLoader(
        samples.to_torch(12, reuse=True), batch_size=None, num_workers=1
    )

    with pytest.raises(daskimg.OptionError, match="reuse overwrites batches"):
        next(iter(loader))


def test_what_does_not_fit_is_refused_before_the_first_batch(torch, samples):
    with pytest.raises(daskimg.OptionError, match="no array 'colour'"):
        samples.to_torch(12, targets=["colour"])
    with pytest.raises(daskimg.OptionError, match="there is no option 'size'"):
        samples.to_torch_map(size=3)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", [None, "fork", "spawn"])
def test_torch_takes_samples_by_number(torch, samples, start):
    data = samples.to_torch_map(dtype="float32", mode="signed", targets=["mask"])
    image, label, targets = data[-1]
    loader = torch.utils.data.DataLoader(
        data, batch_size=16, num_workers=2 if start else 0, multiprocessing_context=start,
        sampler=range(60, 20, -1),
    )  # fmt: skip

    found = [torch.cat(parts) for parts in zip(*((b[0], b[1]) for b in loader), strict=True)]

    assert len(data) == COUNT
    assert (image.shape, int(label), targets["mask"].shape) == ((12, 10, 3), 2, (20, 20, 1))
    wanted = samples.take(range(60, 20, -1), dtype="float32", mode="signed")
    npt.assert_array_equal(found[0], wanted.image)
    npt.assert_array_equal(found[1], wanted.label)


# -- jax -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax", reason="needs jax: pip install jax")


@pytest.mark.parametrize("ahead", [0, 2])
def test_jax_is_given_the_same_batches(jax, samples, ahead):
    batches = samples.to_jax(12, ahead=ahead, **SETTINGS)

    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found = list(batches)
        all_same(found, samples.batches(12, epoch=epoch, **SETTINGS))

    assert len(batches) == len(found)
    assert all(isinstance(each, jax.Array) for each in (found[0].image, found[0].label))


def test_jax_goes_on_where_it_was_left(jax, samples):
    whole = list(samples.batches(12, **SETTINGS))
    first = samples.to_jax(12, ahead=3, **SETTINGS)
    for count, _ in enumerate(first, 1):
        if count == 4:
            break
    again = samples.to_jax(12, **SETTINGS)

    again.load_state_dict(first.state_dict())

    all_same(again, whole[4:])


def test_jax_shards_batches_over_its_devices(jax, samples):
    script = (
        "import sys, daskimg, jax\n"
        "from jax.sharding import Mesh, NamedSharding, PartitionSpec\n"
        "mesh = Mesh(jax.devices(), ('data',))\n"
        "sharding = NamedSharding(mesh, PartitionSpec('data'))\n"
        "batch = next(iter(daskimg.open_store(sys.argv[1]).to_jax(12, sharding=sharding)))\n"
        "print(batch.image.shape, len(batch.image.addressable_shards),\n"
        "      batch.label.addressable_shards[2].data.tolist())\n"
    )

    found = subprocess.run(
        [sys.executable, "-c", script, samples.url],
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert found.stdout.strip() == "(12, 12, 10, 3) 4 [2, 3, 4]"


def test_jax_is_given_no_memory_that_is_overwritten(jax, samples):
    with pytest.raises(daskimg.OptionError, match="reuse overwrites batches, and JAX"):
        samples.to_jax(12, reuse=True)


# -- tensorflow ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow", reason="needs tensorflow: pip install tensorflow")


def test_tensorflow_is_given_the_same_batches(tensorflow, samples):
    data = samples.to_tf(12, epoch=1, **SETTINGS)

    for _ in range(2):
        for found, wanted in zip(data, samples.batches(12, epoch=1, **SETTINGS), strict=True):
            assert list(found) == ["image", "label", "sample", "valid", "mask"]
            npt.assert_array_equal(found["image"], wanted.image)
            npt.assert_array_equal(found["label"], wanted.label)
            npt.assert_array_equal(found["sample"], wanted.sample)

    assert int(data.cardinality()) == 9
    assert data.element_spec["image"].shape.as_list() == [None, 3, 12, 10]
