import math

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.represent import projection as module
from tasksift.represent.projection import make_projection

torch = pytest.importorskip("torch")

KINDS = ("count-sketch", "rademacher", "factored", "none")
LAYOUT = {"head": (7, 30), "norm": (11,), "down": (12, 9), "up": (5, 2, 3), "scale": ()}


def gradients(b=4, seed=0, layout=LAYOUT):
    drawn = torch.Generator().manual_seed(seed)
    return {name: torch.randn(b, *shape, generator=drawn) for name, shape in layout.items()}


def project(projection, grads):
    b = len(next(iter(grads.values())))
    out = torch.zeros(b, projection.dim)
    for name, grad in grads.items():
        projection.add(out, name, grad)
    return out


def dense(projection):
    """The matrix of a projection, one unit vector at a time."""
    rows = []
    for name, shape in projection.layout.items():
        for k in range(math.prod(shape)):
            unit = torch.zeros(1, math.prod(shape))
            unit[0, k] = 1
            out = torch.zeros(1, projection.dim)
            projection.add(out, name, unit.reshape(1, *shape))
            rows.append(out)
    return torch.cat(rows)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("dim", [1, 16, 64, 1000])
def test_is_the_matrix_that_unit_vectors_show(kind, dim, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 400)
    projection = make_projection(kind, LAYOUT, dim, 3)
    grads = gradients()
    flat = torch.cat([grads[name].flatten(1) if LAYOUT[name] else grads[name][:, None] for name in sorted(LAYOUT)], 1)
    expected = flat.double() @ dense(projection).double()
    torch.testing.assert_close(project(projection, grads).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "dim", "entries"), [("count-sketch", 16, 1), ("rademacher", 16, 16)])
def test_entries_are_signs_of_equal_size(kind, dim, entries):
    matrix = dense(make_projection(kind, LAYOUT, dim, 0))
    assert torch.equal((matrix != 0).sum(1), torch.full((len(matrix),), entries))
    torch.testing.assert_close(matrix[matrix != 0].abs(), torch.full((entries * len(matrix),), entries**-0.5))


@pytest.mark.parametrize("chunk", [1, 400, 2**21])
def test_outer_products_are_gradients(kind, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    drawn = torch.Generator().manual_seed(1)
    projection = make_projection(kind, LAYOUT, 16, 3)
    for name in ("head", "down"):
        r, c = LAYOUT[name]
        left, right = torch.randn(3, 6, r, generator=drawn), torch.randn(3, 6, c, generator=drawn)
        out, expected = torch.ones(3, projection.dim), torch.ones(3, projection.dim)
        projection.add_outer(out, name, left, right)
        projection.add(expected, name, torch.einsum("btr,btc->brc", left, right))
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 16, 1000])
def test_gradients_may_come_in_rows(kind, dim):
    projection = make_projection(kind, LAYOUT, dim, 3)
    grads = gradients()
    parts = torch.zeros(4, projection.dim)
    for name, grad in grads.items():
        for row in range(0, grad.shape[1] if LAYOUT[name] else 1, 4):
            projection.add(parts, name, grad[:, row : row + 4] if LAYOUT[name] else grad, row)
    torch.testing.assert_close(parts, project(projection, grads), atol=1e-5, rtol=1e-5)


def test_half_precision_is_widened_before_anything_is_summed(kind):
    projection = make_projection(kind, LAYOUT, 16, 3)
    grads = {name: grad.bfloat16() for name, grad in gradients().items()}
    wide = project(projection, {name: grad.float() for name, grad in grads.items()})
    assert torch.equal(project(projection, grads), wide)
    left, right = torch.randn(2, 3, 7).bfloat16(), torch.randn(2, 3, 30).bfloat16()
    out, expected = torch.zeros(2, projection.dim), torch.zeros(2, projection.dim)
    projection.add_outer(out, "head", left, right)
    projection.add_outer(expected, "head", left.float(), right.float())
    assert torch.equal(out, expected)


def test_the_path_of_a_gpu_adds_the_same(monkeypatch):
    layout = {"w": (1000,)}
    projection = make_projection("count-sketch", layout, 64, 0)
    grads = torch.randn(3, 1000)
    for budget in (1, 3 * 64 * 4 * 5, 2**28):
        monkeypatch.setattr(module, "DEVICE_BYTES", budget)
        for start, end in ((0, 1000), (0, 64), (100, 101), (63, 700), (640, 1000)):
            out, expected = torch.ones(3, 64), torch.ones(3, 64)
            projection._add_gathered(out, grads[:, start:end], start, *projection.drawn("w"))
            projection._add(expected, "w", grads[:, start:end], start)
            torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dim", [9, 40])
def test_inner_products_are_unbiased(kind, dim):
    one, two = gradients(6, 0), gradients(6, 1)
    for name in one:
        two[name] += one[name]
    flat_one, flat_two = (torch.cat([grad.reshape(6, -1) for grad in side.values()], 1) for side in (one, two))
    exact = (flat_one * flat_two).sum(1)
    found = []
    for seed in range(400):
        projection = make_projection(kind, LAYOUT, dim, seed)
        found.append((project(projection, one) * project(projection, two)).sum(1))
    found = torch.stack(found)
    error = found.std(0) / len(found) ** 0.5 + 1e-5 * exact.abs()
    assert ((found.mean(0) - exact).abs() <= 3.5 * error).all()
    if kind in ("count-sketch", "rademacher"):
        bound = (flat_one.square().sum(1) * flat_two.square().sum(1) + exact.square()) / dim
        assert (found.var(0) <= 1.3 * bound).all()
        assert (found.var(0) >= 0.5 * bound).all()


def error_of_cosines(kind, dim, sizes, seeds):
    """The deviation of projected cosines of 60 near-orthogonal vectors from the exact ones, times sqrt(dim)."""
    n, p, errors = 60, sum(sizes), []
    vectors = torch.nn.functional.normalize(torch.randn(n, p, generator=torch.Generator().manual_seed(5)))
    parts = {f"w{k}": part for k, part in enumerate(vectors.split(sizes, dim=1))}
    upper = torch.triu_indices(n, n, 1)
    for seed in range(seeds):
        projection = make_projection(kind, {name: part.shape[1:] for name, part in parts.items()}, dim, seed)
        found = torch.nn.functional.normalize(project(projection, parts))
        errors.append((found @ found.T - vectors @ vectors.T)[upper[0], upper[1]])
    return float(torch.cat(errors).std()) * dim**0.5


@pytest.mark.parametrize("dim", [256, 1024, 4096])
def test_error_of_cosines_is_one_by_root_dim_for_both_kinds(dim):
    """A1 and A2, for the shapes of adapters."""
    sparse, dense = (error_of_cosines(kind, dim, [1000, 600, 900] * 8, 3) for kind in ("count-sketch", "rademacher"))
    assert 0.9 < sparse < 1.15
    assert 0.9 < dense < 1.15
    assert sparse == pytest.approx(dense, rel=0.1)


def test_coordinates_of_a_block_do_not_disturb_each_other():
    """With few blocks the error is below that of a dense projection by just the pairs that cannot meet."""
    assert error_of_cosines("count-sketch", 4096, [5 * 4096], 4) == pytest.approx(0.8**0.5, rel=0.05)


def test_order_of_parameters_changes_nothing(kind):
    one = make_projection(kind, LAYOUT, 16, 0)
    two = make_projection(kind, dict(reversed(LAYOUT.items())), 16, 0)
    assert one.identity == two.identity
    grads = gradients()
    for name in LAYOUT:
        out, again = torch.zeros(4, one.dim), torch.zeros(4, one.dim)
        one.add(out, name, grads[name])
        two.add(again, name, grads[name])
        assert torch.equal(out, again)


def test_parameters_added_keep_the_randomness_of_the_others():
    for kind in ("count-sketch", "rademacher"):
        small, large = make_projection(kind, {"w": (90,)}, 16, 0), make_projection(kind, {"w": (90,), "v": (5,)}, 16, 0)
        out, again = torch.zeros(1, 16), torch.zeros(1, 16)
        small.add(out, "w", torch.ones(1, 90))
        large.add(again, "w", torch.ones(1, 90))
        assert torch.equal(out, again)


def test_large_projections_are_drawn_again_alike(monkeypatch):
    grads = gradients()
    kept = make_projection("rademacher", LAYOUT, 16, 0)
    monkeypatch.setattr(module, "CACHE_BYTES", 0)
    drawn = make_projection("rademacher", LAYOUT, 16, 0)
    assert torch.equal(project(kept, grads), project(drawn, grads))
    assert kept._tiles
    assert not drawn._tiles


def test_threads_change_nothing(kind):
    layout = {"w": (300, 400), "v": (70_000,)}
    grads = gradients(8, layout=layout)
    before = torch.get_num_threads()
    try:
        outs = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outs.append(project(make_projection(kind, layout, 4096 if kind != "rademacher" else 64, 0), grads))
    finally:
        torch.set_num_threads(before)
    if kind in ("count-sketch", "none"):
        assert torch.equal(*outs)
    torch.testing.assert_close(*outs, atol=1e-4, rtol=1e-5)


def test_a_row_depends_on_its_own_gradient_only(kind):
    projection = make_projection(kind, LAYOUT, 16, 0)
    grads = gradients()
    alone = torch.cat([project(projection, {name: grad[k : k + 1] for name, grad in grads.items()}) for k in range(4)])
    torch.testing.assert_close(project(projection, grads), alone, atol=1e-5, rtol=1e-5)


def test_identities_tell_what_differs(kind):
    base = make_projection(kind, LAYOUT, 64, 0).identity
    assert base["type"] == kind
    assert base["parameters"] == sum(map(math.prod, LAYOUT.values()))
    renamed = {("tail" if name == "head" else name): shape for name, shape in LAYOUT.items()}
    for layout, dim, seed in ((LAYOUT, 64, 1), (renamed, 64, 0), (LAYOUT | {"head": (30, 7)}, 64, 0), (LAYOUT, 32, 0)):
        if kind != "none" or layout is not LAYOUT or seed:
            assert make_projection(kind, layout, dim, seed).identity != base
    assert make_projection(kind, renamed, 64, 0).identity["digest"] != base["digest"]


@pytest.mark.parametrize("dim", [40, 200, 8192])
def test_factored_comes_near_the_dimensions_asked_for(dim):
    layout = {f"layer{k}.{name}": shape for k in range(4) for name, shape in
              {"q": (64, 64), "up": (64, 160), "down": (160, 64), "lora": (4, 64), "norm": (64,)}.items()}  # fmt: skip
    projection = make_projection("factored", layout, dim, 0)
    assert 0.75 * dim <= projection.dim <= dim
    small = make_projection("factored", {"w": (3, 4), "v": (5,)}, 1000, 0)
    assert small.dim == 17
    grads = gradients(2, layout=small.layout)
    assert torch.equal(project(small, grads)[:, 5:], grads["w"].flatten(1))


def test_numbers_are_pinned():
    out = torch.zeros(1, 4)
    make_projection("count-sketch", {"w": (10,)}, 4, 0).add(out, "w", torch.arange(1.0, 11.0)[None])
    np.testing.assert_array_equal(out.numpy(), [[-14, -15, 5, 1]])


def test_refusals():
    with pytest.raises(InputError, match=r"--projection hadamard is none of count-sketch, rademacher"):
        make_projection("hadamard", LAYOUT, 8, 0)
    with pytest.raises(InputError, match="--dim 0"):
        make_projection("none", LAYOUT, 0, 0)
    with pytest.raises(InputError, match="no trainable parameter"):
        make_projection("none", {}, 8, 0)
