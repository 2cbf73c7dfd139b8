"""Selection by gradients where the truth is known: digits, some of them transposed, some with wrong labels.

The task is to read transposed digits. A hundred of them, ten of each class, are the targets; the pool holds transposed
digits, transposed digits with random labels, and normal ones of both kinds. A method is good if what it takes is
transposed and rightly labelled (precision), and if a network trained on that reads transposed digits (accuracy). All
networks are trained for the same number of steps.

    python benchmarks/selection_digits.py [--seeds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from tasksift.draw import draw
from tasksift.geometry import task_means
from tasksift.plan import Plan
from tasksift.represent.gradient import unit_blocks
from tasksift.represent.preconditioner import adam_direction
from tasksift.represent.projection import make_projection
from tasksift.selectors import less, tarot

KINDS = {"normal": 600, "transposed": 200, "transposed, random labels": 200, "normal, random labels": 150}
TARGETS, EVALUATION, TAKEN, WARM_UP, CHECKPOINTS, DIM = 100, 500, 0.15, 0.25, 4, 256
RATE, BATCH, STEPS, WARM_EPOCHS, TRAININGS = 3e-3, 32, 1000, 20, 3

Rows = NDArray[Any]


@dataclass(frozen=True)
class Digits:
    """Images (n, 64), labels (n,), and for the pool the kind of each row."""

    x: Any
    y: Any
    kind: NDArray[np.int64] | None = None

    def at(self, rows: NDArray[np.int64]) -> Digits:
        """Some of the rows."""
        return Digits(self.x[rows], self.y[rows])


def data(rng: np.random.Generator) -> tuple[Digits, Digits, Digits]:
    """Pool, targets (ten of each class) and images to be judged by; no image is in two of them."""
    found = load_digits()
    x, y = (found.images / 16).astype(np.float32), found.target
    order = rng.permutation(len(y))
    turned = x.transpose(0, 2, 1)
    target = np.concatenate([order[y[order] == c][: TARGETS // 10] for c in range(10)])
    rest = np.setdiff1d(order, target, assume_unique=True)
    rest = rng.permutation(rest)
    kind = np.repeat(np.arange(4), list(KINDS.values()))
    pool, judged = rest[: len(kind)], rest[len(kind) : len(kind) + EVALUATION]
    images = np.where(((kind == 1) | (kind == 2))[:, None, None], turned[pool], x[pool])
    labels = np.where(kind >= 2, rng.integers(0, 10, len(kind)), y[pool])

    def made(images: Rows, labels: Rows, kind: Any = None) -> Digits:
        return Digits(torch.from_numpy(images.reshape(-1, 64).copy()), torch.from_numpy(labels), kind)

    return made(images, labels, kind), made(turned[target], y[target]), made(turned[judged], y[judged])


def network() -> torch.nn.Module:
    """A network of one hidden layer."""
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


def train(model: torch.nn.Module, rows: Digits, epochs: int, seed: int) -> Iterator[torch.optim.Adam]:
    """Train, and hand out the optimizer after each epoch."""
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows.y), generator=generator).split(BATCH):
            adam.zero_grad()
            cross_entropy(model(rows.x[batch]), rows.y[batch]).backward()
            adam.step()
        yield adam


def accuracy(rows: Digits, judged: Digits, seed: int) -> float:
    """How many of the judged images a network trained on the rows reads."""
    torch.manual_seed(seed)
    model = network()
    for _ in train(model, rows, round(STEPS / -(-len(rows.y) // BATCH)), seed):
        pass
    with torch.no_grad():
        return float((model(judged.x).argmax(1) == judged.y).float().mean())


@dataclass(frozen=True)
class Seen:
    """What one checkpoint sees: projected gradients of the targets, and of the pool by each way to precondition."""

    target: Rows
    pool: dict[str, Rows]


WAYS: dict[str, dict[str, Any]] = {
    "sgd": {}, "paper": {"momentum": "paper"}, "none": {"momentum": "none"}, "compat": {"less_compat": True},
}  # fmt: skip


def look(model: torch.nn.Module, adam: torch.optim.Adam, pool: Digits, target: Digits, seed: int) -> Seen:
    """The gradients at a model and its optimizer's moments."""
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    layout = {name: tuple(value.shape) for name, value in weights.items()}
    projection = make_projection("count-sketch", layout, DIM, seed)
    moments = {name: adam.state[value] for name, value in model.named_parameters()}

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    def projected(grads: dict[str, Any], **options: Any) -> Rows:
        out = torch.zeros(len(next(iter(grads.values()))), DIM)
        for name, each in grads.items():
            step = each.clone()
            if options:
                state = moments[name]
                step = adam_direction(step, state["exp_avg"], state["exp_avg_sq"], int(state["step"]), **options)
            projection.add(out, name, step)
        return out.numpy()

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    grads = each(weights, pool.x, pool.y)
    return Seen(
        projected(each(weights, target.x, target.y)), {way: projected(grads, **how) for way, how in WAYS.items()}
    )


def warm_up(pool: Digits, target: Digits, seed: int) -> list[Seen]:
    """Train on a part of the pool and look at checkpoints."""
    torch.manual_seed(seed)
    model = network()
    rng = np.random.default_rng(seed)
    part = pool.at(rng.choice(len(pool.y), round(WARM_UP * len(pool.y)), replace=False))
    seen = []
    for epoch, adam in enumerate(train(model, part, WARM_EPOCHS, seed), start=1):
        if epoch % (WARM_EPOCHS // CHECKPOINTS) == 0:
            seen.append(look(model, adam, pool, target, seed))
    return seen


def plans(seen: list[Seen], tasks: NDArray[np.int64], k: int) -> dict[str, Callable[[], Plan]]:
    """The methods that are compared, by name."""
    weights = np.full(len(seen), 1 / len(seen))
    target = np.hstack([each.target for each in seen])
    means = unit_blocks(task_means(target, tasks), weights)

    def side(way: str, centred: bool = False) -> Rows:
        rows = np.hstack([each.pool[way] for each in seen])
        return unit_blocks(rows - rows.mean(0) if centred else rows, weights)

    def per_shot() -> Plan:
        cosines = side("paper") @ unit_blocks(target, weights).T
        score = np.max([cosines[:, tasks == t].mean(1) for t in np.unique(tasks)], axis=0)
        return Plan("score", "per shot", np.arange(len(score)), score.astype(np.float64))

    def whitened() -> Plan:
        mean = [np.mean([each.pool["sgd"] for each in seen], 0), np.mean([each.target for each in seen], 0)]
        return tarot.fit(*mean, budget=k)

    return {
        "SGD gradients, max over tasks": lambda: less.fit(side("sgd"), means),
        "LESS": lambda: less.fit(side("paper"), means),
        "LESS, formula of the published code": lambda: less.fit(side("compat"), means),
        "LESS, mean of per-shot cosines": per_shot,
        "LESS, no momentum": lambda: less.fit(side("none"), means),
        "LESS, centred over the pool": lambda: less.fit(side("paper", centred=True), means),
        "LESS, mean over tasks": lambda: less.fit(side("paper"), means, aggregate="mean"),
        "SGD gradients, mean over tasks": lambda: less.fit(side("sgd"), means, aggregate="mean"),
        "TAROT, fixed size": whitened,
    }


def results(seed: int) -> dict[str, tuple[float, float]]:
    """Accuracy and precision of each method for one seed."""
    rng = np.random.default_rng(seed)
    pool, target, judged = data(rng)
    assert pool.kind is not None
    n, k = len(pool.y), int(TAKEN * len(pool.y))
    order = rng.permutation(n)
    clean = pool.kind == 1
    picks = {
        f"random {TAKEN:.0%}": [rng.choice(n, k, replace=False) for _ in range(TRAININGS)],
        "all": [np.arange(n)] * TRAININGS,
        "transposed and rightly labelled only": [rng.choice(np.flatnonzero(clean), k, replace=False)] * TRAININGS,
    }
    for name, plan in plans(warm_up(pool, target, seed), target.y.numpy(), k).items():
        picks[name] = [draw(plan(), k, seed=seed, order=order, method="top").ids] * TRAININGS
    found = {}
    for name, sets in picks.items():
        read = [accuracy(pool.at(rows), judged, at) for at, rows in enumerate(sets)]
        found[name] = float(np.mean(read)), float(np.mean([clean[rows].mean() for rows in sets]))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    every = [results(seed) for seed in range(parser.parse_args().seeds)]
    print(f"{'':40} accuracy precision   (by seed)")
    for name in every[0]:
        both = np.array([each[name] for each in every])
        spread = " ".join(f"{a:.3f}/{p:.3f}" for a, p in both)
        print(f"{name:40} {both[:, 0].mean():8.3f} {both[:, 1].mean():9.3f}   {spread}")


if __name__ == "__main__":
    main()
