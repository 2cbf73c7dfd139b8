"""The direction in which Adam would move for the gradient of one example (LESS, section 3)."""

from __future__ import annotations

from typing import Any, Literal

Momentum = Literal["paper", "none"]

BLOCK = 2**24
"""Numbers of the scratch that the denominator needs at a time, at most, or one example's."""


def adam_direction(
    g: Any,
    m: Any,
    v: Any,
    step: int,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    momentum: Momentum = "paper",
    less_compat: bool = False,
) -> Any:
    r"""Turn gradients of examples into the steps that Adam would take for them, divided by minus the learning rate.

    With t = `step` and gradients, moments and powers taken number by number,

        m' = (beta1 m + (1 - beta1) g) / (1 - beta1^(t+1))
        v' = (beta2 v + (1 - beta2) g^2) / (1 - beta2^(t+1))
        direction = m' / (sqrt(v') + eps)

    Parameters
    ----------
    g : float tensor (b, \*shape)
        One gradient per example, not a sum over them. It is **overwritten** with the answer, which is also returned;
        half precision is widened to float32 first and then stays as it was, as the squares would underflow.
    m, v : float tensor (\*shape)
        The moments as the optimizer holds them after `step` steps, without bias correction.
    step : int
        Steps that the optimizer has taken.
    beta1, beta2, eps : float
        As in training.
    momentum : str
        ``paper`` as above. ``none`` leaves ``beta1 m`` out of the numerator: it is the same for every example and makes
        all directions nearly parallel. (To centre instead, subtract the pool's mean from the finished features.)
    less_compat : bool
        The formula of the code published with LESS, for comparison with it: no bias correction, and `eps` inside the
        root, which makes 1e-4 the least denominator; where moments are small that is hardly Adam.

    Returns
    -------
    float tensor (b, \*shape)
        What a step along it does is ``parameter -= learning rate * direction``.

    Notes
    -----
    Cost: some eight passes over the b times p numbers, and scratch for one block of examples.

    References
    ----------
    Xia et al., "LESS: Selecting Influential Data for Targeted Instruction Tuning", ICML 2024, section 3.1.
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """
    import torch

    if step < 0 or m.shape != g.shape[1:] or v.shape != g.shape[1:]:
        raise ValueError(f"gradients {tuple(g.shape)}, moments {tuple(m.shape)} and {tuple(v.shape)}, step {step}")
    if g.dtype in (torch.float16, torch.bfloat16):
        g = g.float()
    correct1 = 1.0 if less_compat else 1 - beta1 ** (step + 1)
    correct2 = 1.0 if less_compat else 1 - beta2 ** (step + 1)
    shared = m.to(g) * (beta1 / correct1) if momentum == "paper" else None
    floor = v.to(g) * (beta2 / correct2) + (eps if less_compat else 0.0)
    rows = max(1, BLOCK // max(1, m.numel()))
    for block in g.split(rows):
        size = block.square().mul_((1 - beta2) / correct2).add_(floor).sqrt_()
        if not less_compat:
            size.add_(eps)
        block.mul_((1 - beta1) / correct1)
        if shared is not None:
            block.add_(shared)
        block.div_(size)
    return g
