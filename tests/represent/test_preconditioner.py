"""The preconditioner against the optimizers of PyTorch and against the published formulas."""

from copy import deepcopy

import pytest

torch = pytest.importorskip("torch")

from tasksift.represent import preconditioner  # noqa: E402
from tasksift.represent.preconditioner import adam_direction  # noqa: E402


def draw(seed=0, b=3, shape=(4, 5), scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(b, *shape, generator=generator, dtype=dtype) * scale
    m = torch.randn(*shape, generator=generator, dtype=dtype) * scale
    v = torch.rand(*shape, generator=generator, dtype=dtype) * scale**2
    return g, m, v


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
@pytest.mark.parametrize("scale", [1e-9, 1e-7, 1e-4, 1.0])
@pytest.mark.parametrize("steps", [0, 1, 7, 400])
def test_it_is_the_step_that_adam_really_takes(optimizer, scale, steps):  # A3
    generator = torch.Generator().manual_seed(steps)
    start = torch.nn.Parameter(torch.zeros(4, 5, dtype=torch.float64))
    lr = 1e-3
    adam = getattr(torch.optim, optimizer)([start], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        start.grad = torch.randn(4, 5, generator=generator, dtype=torch.float64) * scale
        adam.step()
    saved = adam.state_dict()
    zero = torch.zeros(4, 5, dtype=torch.float64)
    state = saved["state"].get(0, {"exp_avg": zero, "exp_avg_sq": zero})
    g = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64) * scale
    ours = adam_direction(g.clone(), state["exp_avg"], state["exp_avg_sq"], steps)
    for k in range(3):
        # From zero, so that the difference of parameters loses no digits.
        copy = torch.nn.Parameter(torch.zeros(4, 5, dtype=torch.float64))
        again = getattr(torch.optim, optimizer)([copy], lr=lr, weight_decay=0.0)
        again.load_state_dict(deepcopy(saved))
        copy.grad = g[k].clone()
        again.step()
        torch.testing.assert_close(ours[k], copy.detach() / -lr, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [1e-7, 1e-2, 1.0])
def test_less_compat_is_the_published_formula(scale):  # A4
    g, m, v = draw(1, scale=scale)
    published = (0.9 * m + 0.1 * g) / torch.sqrt(0.999 * v + 0.001 * g**2 + 1e-8)
    for step in (0, 50):
        torch.testing.assert_close(
            adam_direction(g.clone(), m, v, step, less_compat=True), published, rtol=1e-6, atol=0
        )
    ours = adam_direction(g.clone(), m, v, 50)
    assert (ours - published).abs().max() > 0.01 * published.abs().max()


@pytest.mark.parametrize("less_compat", [False, True])
def test_without_momentum_the_shared_part_is_gone(less_compat):
    g, m, v = draw(2)
    whole = adam_direction(g.clone(), m, v, 9, less_compat=less_compat)
    alone = adam_direction(g.clone(), m, v, 9, momentum="none", less_compat=less_compat)
    no_m = adam_direction(g.clone(), torch.zeros_like(m), v, 9, less_compat=less_compat)
    torch.testing.assert_close(alone, no_m)
    assert not torch.allclose(alone, whole)
    assert torch.equal(alone.sign(), g.sign())


def test_it_overwrites_the_gradients_and_leaves_the_moments(monkeypatch):
    g, m, v = draw(3, b=7)
    before = m.clone(), v.clone()
    answer = adam_direction(kept := g.clone(), m, v, 4)
    assert answer.data_ptr() == kept.data_ptr()
    assert torch.equal(m, before[0])
    assert torch.equal(v, before[1])
    monkeypatch.setattr(preconditioner, "BLOCK", 45)  # blocks of two examples, the last of one
    assert torch.equal(adam_direction(g.clone(), m, v, 4), answer)
    assert torch.equal(torch.cat([adam_direction(row[None].clone(), m, v, 4) for row in g]), answer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    g, m, v = draw(4, scale=1e-3, dtype=torch.float32)
    half = g.to(dtype)
    kept = half.clone()
    answer = adam_direction(half, m, v, 4)
    assert answer.dtype == torch.float32
    assert torch.equal(half, kept)
    torch.testing.assert_close(answer, adam_direction(kept.float(), m, v, 4))


def test_shapes_that_do_not_fit_are_refused():
    g, m, v = draw()
    with pytest.raises(ValueError, match="moments"):
        adam_direction(g[0], m, v, 1)
    with pytest.raises(ValueError, match="step -1"):
        adam_direction(g, m, v, -1)
