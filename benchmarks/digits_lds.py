"""Gradient scores against retraining: how well do they foretell what training on a part of the pool does to targets.

The linear datamodeling score (LDS): train on many random halves of the pool, sum each row's score over the half, and
rank the halves by that sum; the LDS is the Spearman correlation with the margins that the retrained models really
have, as a mean over targets. The pool has 1000 of scikit-learn's digits, of which a tenth have a wrong label; the model
is an MLP 64-32-10.

    python benchmarks/digits_lds.py --cache digits.npz

It takes a minute on one core; `--cache` keeps the margins after retraining and reads them again. A smaller run:
`--masks 60 --retrainings 1 --checkpoints 1,5`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from command import markdown
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, relu

from tasksift.selectors import trak
from tasksift.selectors.whitening import whiten

Float = NDArray[np.float64]

HIDDEN, CLASSES = 32, 10
STEPS, RATE, MOMENTUM, DECAY = 300, 0.3, 0.9, 1e-3
STACK = 50
"""Models trained at a time."""

CHECKPOINT_SEED, PROJECTION_SEED = 10_000, 20_000


class Bench(NamedTuple):
    """Pool and targets: pixels in [0, 1] and labels."""

    pool: torch.Tensor
    pool_labels: torch.Tensor
    target: torch.Tensor
    target_labels: torch.Tensor


class Checkpoint(NamedTuple):
    """What one model trained on the whole pool gives: gradients of the margin (n, parameters), and margins (n,)."""

    pool: Float
    target: Float
    pool_margins: Float
    target_margins: Float

    @property
    def pool_losses(self) -> Float:
        """Gradients of the loss log(1 + exp(-f)) of the margin f."""
        return -self.pool * expit(-self.pool_margins)[:, None]

    @property
    def target_losses(self) -> Float:
        """The same of the targets."""
        return -self.target * expit(-self.target_margins)[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.1, help="share of the pool whose labels are wrong")
    parser.add_argument("--masks", type=int, default=200, help="random halves of the pool to train on")
    parser.add_argument("--retrainings", type=int, default=3, help="models for each half, of different seeds")
    parser.add_argument("--checkpoints", default="1,5,10", help="how many models the scores are made of")
    parser.add_argument("--dims", default="64,256")
    parser.add_argument("--ridge", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, help=".npz of the margins after retraining, read if it is there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    counts = [int(count) for count in args.checkpoints.split(",")]
    bench = make_bench(args.rows, args.targets, args.noise, args.seed)
    masks, margins = retrained(bench, args)
    models = checkpoints(bench, max(counts))
    rows = []
    for dim in map(int, args.dims.split(",")):
        found = [estimates(models[:count], dim, args.ridge) for count in counts]
        for name in found[0]:
            rows.append([name, str(dim), *(f"{lds(each[name], masks, margins):.3f}" for each in found)])
    print(f"{args.masks} halves x {args.retrainings} retrainings")
    if args.retrainings > 1:
        print(f"rank correlation of the margins of two retrainings: {agreement(margins):.3f}")
    print()
    print(markdown(["estimator", "dims", *(f"M={count}" for count in counts)], rows))


def make_bench(rows: int, targets: int, noise: float, seed: int) -> Bench:
    """Draw pool and targets from the digits, and give some of the pool's rows another label."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))[: rows + targets]
    pixels = torch.from_numpy(digits.data[order] / 16).float()
    labels = digits.target[order].astype(np.int64)
    wrong = rng.choice(rows, round(noise * rows), replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    known = torch.from_numpy(labels)
    return Bench(pixels[:rows], known[:rows], pixels[rows:], known[rows:])


def forward(parameters: list[torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Logits of one model, or of a stack of models side by side."""
    one, one_bias, two, two_bias = parameters
    return relu(pixels @ one + one_bias.unsqueeze(-2)) @ two + two_bias.unsqueeze(-2)


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-odds of the label, by the other logits and not by a rounded probability."""
    at = labels.unsqueeze(-1)
    return logits.gather(-1, at).squeeze(-1) - logits.scatter(-1, at, -torch.inf).logsumexp(-1)


def train(pixels: torch.Tensor, labels: torch.Tensor, seeds: list[int]) -> list[torch.Tensor]:
    """Train a stack of models, each on its own rows: pixels (models, n, 64), labels (models, n)."""
    parameters = [
        torch.stack(parts).requires_grad_()
        for parts in zip(*(initial(pixels.shape[-1], s) for s in seeds), strict=True)
    ]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = cross_entropy(forward(parameters, pixels).flatten(0, 1), labels.flatten(), reduction="sum")
        (losses / labels.shape[1]).backward()
        optimizer.step()
    return [each.detach() for each in parameters]


def initial(inputs: int, seed: int) -> list[torch.Tensor]:
    """Weights and biases of one model, uniform within 1/sqrt(inputs of the layer)."""
    source = torch.Generator().manual_seed(seed)
    shapes = [(inputs, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    reach = [inputs**-0.5, inputs**-0.5, HIDDEN**-0.5, HIDDEN**-0.5]
    return [(2 * torch.rand(shape, generator=source) - 1) * bound for shape, bound in zip(shapes, reach, strict=True)]


def retrained(bench: Bench, args: argparse.Namespace) -> tuple[Float, Float]:
    """Return the halves, (masks, n) of 0 and 1, and the targets' margins after training on them.

    The margins are (retrainings, masks, m).
    """
    size = [args.rows, args.targets, args.noise, args.masks, args.retrainings, args.seed]
    if args.cache and args.cache.exists():
        held = np.load(args.cache)
        if held["size"].tolist() != size:
            raise SystemExit(f"{args.cache} is of another bench; give another --cache")
        return held["masks"], held["margins"]
    rng = np.random.default_rng(args.seed + 1)
    chosen = np.stack([rng.permutation(args.rows)[: args.rows // 2] for _ in range(args.masks)])
    masks = np.zeros((args.masks, args.rows))
    np.put_along_axis(masks, chosen, 1.0, axis=1)
    margins = np.empty((args.retrainings, args.masks, args.targets))
    for k in range(args.retrainings):
        for start in range(0, args.masks, STACK):
            some = torch.from_numpy(chosen[start : start + STACK])
            seeds = [k * args.masks + start + j for j in range(len(some))]
            parameters = train(bench.pool[some], bench.pool_labels[some], seeds)
            logits = forward(parameters, bench.target.expand(len(some), -1, -1))
            margins[k, start : start + len(some)] = margin(logits, bench.target_labels.expand(len(some), -1)).numpy()
    if args.cache:
        np.savez(args.cache, size=np.array(size), masks=masks, margins=margins)
    return masks, margins


def checkpoints(bench: Bench, count: int) -> list[Checkpoint]:
    """Train `count` models on the whole pool, and take gradients of margins by each."""
    seeds = [CHECKPOINT_SEED + k for k in range(count)]
    stacked = train(bench.pool.expand(count, -1, -1), bench.pool_labels.expand(count, -1), seeds)
    found = []
    for k in range(count):
        parameters = [each[k] for each in stacked]
        pool, pool_margins = gradients(parameters, bench.pool, bench.pool_labels)
        target, target_margins = gradients(parameters, bench.target, bench.target_labels)
        found.append(Checkpoint(pool, target, pool_margins, target_margins))
    return found


def gradients(parameters: list[torch.Tensor], pixels: torch.Tensor, labels: torch.Tensor) -> tuple[Float, Float]:
    """Return the gradient of each row's margin, (n, parameters), and the margins, (n,)."""

    def of_one(parameters: list[torch.Tensor], row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return margin(forward(parameters, row.unsqueeze(0)), label.unsqueeze(0))[0]

    each = torch.func.grad_and_value(of_one)
    slopes, values = torch.func.vmap(each, in_dims=(None, 0, 0))(parameters, pixels, labels)
    flat = torch.cat([part.flatten(1) for part in slopes], dim=1)
    return flat.double().numpy(), values.double().numpy()


def projection(parameters: int, dim: int, seed: int) -> Float:
    """Random signs, (parameters, dim), that keep lengths on average."""
    signs = np.random.default_rng(PROJECTION_SEED + seed).integers(0, 2, (parameters, dim))
    return (2.0 * signs - 1.0) / np.sqrt(dim)


def estimates(models: list[Checkpoint], dim: int, ridge: float) -> dict[str, Float]:
    """Score every row for every target, (n, m), in each of the ways that are compared."""
    # The models are trained apart, so each has a projection of its own, and what is averaged are scores. Only the last
    # way averages gradients, as TAROT does over checkpoints of one run.
    sketches = [projection(models[0].pool.shape[1], dim, seed) for seed in range(len(models))]
    pool = [model.pool @ sketch for model, sketch in zip(models, sketches, strict=True)]
    target = [model.target @ sketch for model, sketch in zip(models, sketches, strict=True)]
    margins = np.stack([model.pool_margins for model in models])
    losses = [(model.pool_losses @ s, model.target_losses @ s) for model, s in zip(models, sketches, strict=True)]
    mean = [np.mean([m.pool_losses for m in models], axis=0), np.mean([m.target_losses for m in models], axis=0)]
    together = [side @ sketches[0] for side in mean]
    return {
        "TRAK": trak.scores(pool, target, margins, ridge=ridge),
        "TRAK without Q": trak.scores(pool, target, margins, ridge=ridge, q="none"),
        "gradient cosine": np.mean([cosine(*pair) for pair in losses], axis=0),
        "gradient dot": np.mean([rows @ answers.T for rows, answers in losses], axis=0),
        "TAROT, whitened cosine": np.mean([cosine(*whiten(*pair)) for pair in losses], axis=0),
        "TAROT, transposed twice": np.mean([cosine(*transposed_twice(*pair)) for pair in losses], axis=0),
        "TAROT, mean gradient of all models": cosine(*whiten(*together)),
    }


def cosine(pool: Float, target: Float) -> Float:
    """Cosines of all pairs, (n, m)."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300) for rows in (pool, target)]
    return unit[0] @ unit[1].T


def transposed_twice(pool: Float, target: Float, ridge: float = 1e-5) -> tuple[Float, Float]:
    """Return rows times L^-1, where whitening is rows times L^-T: the published code's slip."""
    both = np.vstack([pool, target])
    centred = both - both.mean(axis=0)
    covariance = centred.T @ centred / len(both)
    dim = len(covariance)
    covariance += ridge * np.trace(covariance) / dim * np.eye(dim)
    slipped = centred @ np.linalg.inv(np.linalg.cholesky(covariance))
    return slipped[: len(pool)], slipped[len(pool) :]


def lds(scores: Float, masks: Float, margins: Float) -> float:
    """Mean over targets of the rank correlation between summed scores of the halves and the margins they led to."""
    foretold, true = masks @ scores, margins.mean(axis=0)
    return float(np.mean([spearmanr(foretold[:, j], true[:, j]).statistic for j in range(true.shape[1])]))


def agreement(margins: Float) -> float:
    """Mean rank correlation of the margins of two retrainings of the same halves, which differ in the seed."""
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(margins[0].T, margins[1].T, strict=True)]))


if __name__ == "__main__":
    main()
