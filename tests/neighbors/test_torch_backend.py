"""The PyTorch backends give the bits of the NumPy backend; on a CPU they run the code that a GPU runs."""

import numpy as np
import pytest

from tasksift import InputError
from tasksift.neighbors import torch_backend as module
from tasksift.neighbors.balls import put_into_balls
from tasksift.neighbors.density import span_units
from tasksift.neighbors.groups import collapse
from tasksift.neighbors.parts import parts
from tasksift.neighbors.search import nearest
from tasksift.selectors import round_robin, tsds
from tasksift.vectors import Vectors

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
BASE = RNG.normal(size=(400, 40)).astype(np.float32)
POOLS = {
    "plain": BASE,
    "read-only": np.frombuffer(BASE.tobytes(), np.float32).reshape(BASE.shape),
    "half": BASE.astype(np.float16),
    "near-duplicates": np.repeat(BASE[:40], 10, axis=0) + 1e-6 * RNG.normal(size=(400, 40)).astype(np.float32),
    "copies": np.repeat(BASE[:100], 4, axis=0),
    "one far outlier": np.vstack([BASE, np.full((1, 40), 1e9, np.float32)]),
    "huge": BASE * 1e14,
    "beyond float32": BASE.astype(np.float64) * 1e30,
    "tiny": BASE * 1e-25,
    "zeros": np.vstack([np.zeros((50, 40), np.float32), BASE]),
    "equal": np.ones((100, 40), np.float32),
}


@pytest.mark.parametrize("products", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", POOLS)
def test_no_pair_is_lost_and_bounds_hold(name, products):
    pool = Vectors(POOLS[name])
    targets = pool.take(np.array([0, 3, 77])) * 1.001
    true = ((targets[:, None] - pool.take(np.arange(len(pool)))) ** 2).sum(axis=2)
    limits = np.median(true, axis=1)
    points = module.TorchPoints(targets, "cpu", products)
    i, j, lower, upper = points.near(pool.narrow(pool.raw((0, len(pool)))), limits)
    found = np.zeros(true.shape, dtype=bool)
    found[i, j] = True
    assert found[true <= limits[:, None]].all()
    assert (lower <= true[i, j]).all()
    assert (true[i, j] <= upper).all()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_search_gives_the_same_bits(name, normalize):
    pool = Vectors(POOLS[name], normalize=normalize)
    groups = collapse(pool)
    targets = Vectors(POOLS[name][[0, 3, 77]], normalize=normalize).take(np.arange(3)) * 1.001
    for k in (1, 50, 1000):
        for ours, plain in zip(
            nearest(pool, groups, targets, k, backend="torch"), nearest(pool, groups, targets, k), strict=True
        ):
            assert ours.ids.tolist() == plain.ids.tolist()
            assert ours.distances.tolist() == plain.distances.tolist()


@pytest.mark.parametrize("tiles", [(4096, 16384), (7, 13)])
@pytest.mark.parametrize("sigma", [1e-4, 3.0, 9.0, 1e3])
@pytest.mark.parametrize("name", POOLS)
def test_device_densities_give_the_same_bits(name, sigma, tiles, monkeypatch):
    monkeypatch.setattr(module, "TILE_ROWS", tiles[0])
    monkeypatch.setattr(module, "TILE_COLUMNS", tiles[1])
    pool = Vectors(POOLS[name])
    sigma *= float(np.abs(pool.take(np.arange(60))).max(initial=1e-30)) / 3
    groups = collapse(pool)
    ids = RNG.permutation(len(groups))[:90]
    part = next(parts(groups, pool.spans(300)))
    plain, whole = put_into_balls(pool, groups, ids, sigma), put_into_balls(pool, groups, ids, sigma, cut=False)
    expected = np.empty(len(ids), dtype=np.int64)
    expected[plain.positions] = span_units(pool, plain, sigma, part)
    assert (whole.ids == ids).all()
    assert module.device_units(pool, whole, sigma, part, "cpu").tolist() == expected.tolist()


def test_selections_are_the_same():
    targets = BASE[:5] + 0.01
    plain, other = (tsds.fit(BASE, targets, budget=40, backend=name) for name in ("numpy", "torch"))
    assert plain.ids.tolist() == other.ids.tolist()
    assert plain.values.tolist() == other.values.tolist()
    turns = [round_robin.prepare(BASE, targets, backend=name).plan(40) for name in ("numpy", "torch")]
    assert turns[0].ids.tolist() == turns[1].ids.tolist()


def test_settings_of_the_program_stay_as_they_were():
    torch.set_float32_matmul_precision("high")
    threads = torch.get_num_threads()
    try:
        nearest(Vectors(BASE), collapse(Vectors(BASE)), BASE[:3].astype(np.float64), 5, backend="torch")
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_num_threads() == threads
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_backend_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match="backend 'jax' does not exist; use one of numpy, torch, cuda"):
        tsds.fit(BASE, BASE[:2], budget=3, backend="jax")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="PyTorch finds no CUDA device"):
            tsds.fit(BASE, BASE[:2], budget=3, backend="cuda")
