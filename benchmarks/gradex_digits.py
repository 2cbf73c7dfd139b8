"""How near do estimates of fine-tuning come to real fine-tuning? On scikit-learn's digits, odd against even.

An MLP of 2.1k parameters is trained on 20 groups of 40 rows, of which 8 groups have half of their labels flipped. Then
it is fine-tuned for real on 100 subsets of 8 groups each, and each subset is estimated from projected gradients by as
many steps of logistic regression, with the margins at the start as offset and without, for several distances moved.

    python benchmarks/gradex_digits.py

It takes a minute on one core and needs no more than tasksift itself. Columns: how far fine-tuning moves the parameters;
the Taylor residual there, sum (f - f_linear)^2 / sum (f - f_start)^2 over the targets; mean relative error of the
subsets' target losses, and rank correlation with the true ones; how well the groups' scores tell noisy from clean, as
an area under the curve; mean squared relative difference of single margins; and the error when the network itself is
asked at start + P w, with that point's distance. Last, two subsets of 7 groups: mostly clean and mostly noisy ones.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from command import markdown
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from tasksift.selectors.gradex_estimates import Estimate, Linearised, target_loss
from tasksift.selectors.gradex_ranking import balanced_subsets, ensemble_scores

Float = NDArray[np.float64]

GROUPS, ROWS, NOISY, SIZE, HIDDEN, TARGETS = 20, 40, 8, 8, 32, 400
FIRST_STEPS, FIRST_RATE = 150, 0.5
CONTRAST = {"mostly clean": (0, 8, 9, 10, 11, 12, 13), "mostly noisy": (0, 1, 2, 3, 4, 5, 8)}
"""Groups below `NOISY` are noisy."""


class Bench(NamedTuple):
    """Pixels in [0, 1] and labels of +-1, the first 8 groups noisy; targets with true labels; the first model."""

    pixels: Float
    labels: Float
    target: Float
    target_labels: Float
    start: Float

    def rows(self, group: int) -> slice:
        """Where a group lies."""
        return slice(group * ROWS, (group + 1) * ROWS)


class Row(NamedTuple):
    """One way of estimating against the truth."""

    loss_error: float
    rho: float
    auc: float
    squared_difference: float
    network_error: float
    network_distance: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subsets", type=int, default=100)
    parser.add_argument("--dims", default="50,100,200,400,0", help="of the projection; 0 for none")
    parser.add_argument("--steps", default="40,100,400", help="of fine-tuning")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bench = make_bench(args.seed)
    subsets = balanced_subsets(GROUPS, SIZE, args.subsets, np.random.default_rng(args.seed))
    rows = []
    for steps in map(int, args.steps.split(",")):
        ends = [fine_tuned(bench, subset, steps, args.rate) for subset in subsets]
        true = np.array([margins(end, bench.target, bench.target_labels) for end in ends])
        moved, residual = distance(bench, ends), taylor(bench, ends, true)
        true_auc = auc(subsets, np.array([target_loss(each) for each in true]))
        for dim in map(int, args.dims.split(",")):
            for offset in (True, False):
                found = compare(bench, subsets, true, dim, steps, args.rate, offset, args.seed)
                rows.append([
                    f"{moved:.3f}", f"{residual:.1e}", dim or "all", "yes" if offset else "no",
                    f"{found.loss_error:.1%}", f"{found.rho:.3f}", f"{found.auc:.3f}", f"{true_auc:.3f}",
                    f"{found.squared_difference:.1e}", f"{found.network_error:.1%}", f"{found.network_distance:.3f}",
                ])  # fmt: skip
    head = ["moved", "Taylor", "dims", "offset", "error", "rho", "AUC", "true AUC", "squared", "network", "at"]
    print(markdown(head, rows))
    print("\nMostly clean and mostly noisy, 7 groups each: estimated and true losses (dims 200, the middle distance)")
    steps = int(args.steps.split(",")[len(args.steps.split(",")) // 2])
    linear = linearised(bench, 200, steps, args.rate, offset=True, seed=args.seed)
    for name, subset in CONTRAST.items():
        end = fine_tuned(bench, subset, steps, args.rate)
        true_loss = target_loss(margins(end, bench.target, bench.target_labels))
        print(f"{name}: estimated {linear.estimate(subset).loss:.4f}, true {true_loss:.4f}")


def make_bench(seed: int) -> Bench:
    """Draw groups and targets, flip labels, and train on all groups."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    pixels, truth = digits.data[order] / 16, np.where(digits.target[order] % 2, 1.0, -1.0)
    count = GROUPS * ROWS
    labels = truth[:count].copy()
    for group in range(NOISY):
        labels[group * ROWS + rng.choice(ROWS, ROWS // 2, replace=False)] *= -1
    inputs = pixels.shape[1]
    initial = np.concatenate([
        rng.normal(size=inputs * HIDDEN) / np.sqrt(inputs), np.zeros(HIDDEN),
        rng.normal(size=HIDDEN) / np.sqrt(HIDDEN), np.zeros(1),
    ])  # fmt: skip
    start = train(initial, pixels[:count], labels, FIRST_STEPS, FIRST_RATE)
    return Bench(pixels[:count], labels, pixels[count:][:TARGETS], truth[count:][:TARGETS], start)


def layers(parameters: Float, inputs: int) -> tuple[Float, Float, Float, Float]:
    """Cut the parameters into weights and biases of both layers."""
    one, one_bias, two, two_bias = np.split(parameters, np.cumsum([inputs * HIDDEN, HIDDEN, HIDDEN]))
    return one.reshape(inputs, HIDDEN), one_bias, two, two_bias


def margins(parameters: Float, pixels: Float, labels: Float) -> Float:
    """Return log p / (1 - p) of the labels, (n,): the label's sign times the one logit."""
    one, one_bias, two, two_bias = layers(parameters, pixels.shape[1])
    return labels * (np.tanh(pixels @ one + one_bias) @ two + two_bias)


def gradients(parameters: Float, pixels: Float, labels: Float) -> Float:
    """Return the gradient of every row's margin, (n, parameters)."""
    one, one_bias, two, _ = layers(parameters, pixels.shape[1])
    hidden = np.tanh(pixels @ one + one_bias)
    back = labels[:, None] * (1 - hidden**2) * two
    outer = (pixels[:, :, None] * back[:, None, :]).reshape(len(pixels), -1)
    return np.hstack([outer, back, labels[:, None] * hidden, labels[:, None]])


def train(parameters: Float, pixels: Float, labels: Float, steps: int, rate: float) -> Float:
    """Full-batch gradient descent on the mean of log(1 + exp(-margin))."""
    for _ in range(steps):
        one, one_bias, two, two_bias = layers(parameters, pixels.shape[1])
        hidden = np.tanh(pixels @ one + one_bias)
        pull = labels * expit(-labels * (hidden @ two + two_bias)) / len(pixels)
        back = pull[:, None] * (1 - hidden**2) * two
        step = np.concatenate([(pixels.T @ back).ravel(), back.sum(0), pull @ hidden, [pull.sum()]])
        parameters = parameters + rate * step
    return parameters


def fine_tuned(bench: Bench, subset: tuple[int, ...], steps: int, rate: float) -> Float:
    """Train on the rows of some groups from the start on."""
    rows = np.concatenate([np.arange(len(bench.pixels))[bench.rows(group)] for group in subset])
    return train(bench.start, bench.pixels[rows], bench.labels[rows], steps, rate)


def linearised(bench: Bench, dim: int, steps: int | None, rate: float, *, offset: bool, seed: int) -> Linearised:
    """Project gradients by random signs, and keep what the estimates need."""
    rng = np.random.default_rng(seed + 1)
    size = len(bench.start)
    sketch = (2.0 * rng.integers(0, 2, (size, dim)) - 1.0) / np.sqrt(dim) if dim else np.eye(size)
    known = gradients(bench.start, bench.pixels, bench.labels) @ sketch
    at_start = margins(bench.start, bench.pixels, bench.labels) * offset

    def moved(weights: Float) -> tuple[float, Float]:
        change = sketch @ weights
        there = margins(bench.start + change, bench.target, bench.target_labels)
        return float(np.linalg.norm(change) / np.linalg.norm(bench.start)), there

    return Linearised(
        [known[bench.rows(group)] for group in range(GROUPS)],
        [at_start[bench.rows(group)] for group in range(GROUPS)],
        np.full(GROUPS, float(ROWS)),
        gradients(bench.start, bench.target, bench.target_labels) @ sketch,
        margins(bench.start, bench.target, bench.target_labels),
        steps=steps,
        rate=rate,
        moved=moved,
    )


def compare(
    bench: Bench,
    subsets: list[tuple[int, ...]],
    true: Float,
    dim: int,
    steps: int,
    rate: float,
    offset: bool,
    seed: int,
) -> Row:
    """Estimate every subset and hold it against its true margins."""
    linear = linearised(bench, dim, steps, rate, offset=offset, seed=seed)
    found: list[Estimate] = [linear.checked(each) for each in linear.estimates(subsets)]
    estimated = np.array([each.loss for each in found])
    losses = np.array([target_loss(each) for each in true])
    relative = np.array([each.margins for each in found]) / true - 1
    checks = [each.check for each in found if each.check is not None]
    return Row(
        float(np.mean(np.abs(estimated - losses) / losses)),
        float(spearmanr(estimated, losses).statistic),
        auc(subsets, estimated),
        float(np.median((relative**2).mean(axis=1))),
        float(np.mean([abs(each.loss - loss) / loss for each, loss in zip(checks, losses, strict=True)])),
        float(np.mean([each.distance for each in checks])),
    )


def auc(subsets: list[tuple[int, ...]], losses: Float) -> float:
    """How well the scores of the groups, higher = keep, tell clean groups from noisy ones."""
    return float(roc_auc_score(np.arange(GROUPS) >= NOISY, ensemble_scores(GROUPS, subsets, -losses)))


def distance(bench: Bench, ends: list[Float]) -> float:
    """Mean of ||moved|| / ||start||."""
    return float(np.mean([np.linalg.norm(end - bench.start) for end in ends]) / np.linalg.norm(bench.start))


def taylor(bench: Bench, ends: list[Float], true: Float) -> float:
    """Mean share of the change of margins that the linear prediction at the fine-tuned parameters misses."""
    slopes = gradients(bench.start, bench.target, bench.target_labels)
    at_start = margins(bench.start, bench.target, bench.target_labels)
    linear = [at_start + slopes @ (end - bench.start) for end in ends]
    return float(
        np.mean([((a - b) ** 2).sum() / ((b - at_start) ** 2).sum() for a, b in zip(linear, true, strict=True)])
    )


if __name__ == "__main__":
    main()
