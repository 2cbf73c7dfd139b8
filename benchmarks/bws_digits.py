"""Does the window that BWS chooses train a better model than the hardest rows, or random ones? On small digits.

Difficulty is the number of times that a digit was learned and forgotten again; half of the digits never are. For each
ratio a network trained on a random subset gives the features, and networks trained on the window, on the hardest rows
and on the random subset are tested on digits that nobody saw.

    python benchmarks/bws_digits.py

Fifteen seconds on one core. `--all` trains on every window too (minutes): the best of them, and the rank correlation of
what windows were judged to be worth with what they are.
"""

from __future__ import annotations

import argparse
import itertools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn.functional import cross_entropy

from tasksift.plan import Plan
from tasksift.selectors import windows

Floats = NDArray[np.float64]
Int = NDArray[np.int64]

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75)
SIZES = (64, 128, 64, 10)
BATCH, RATE, MOMENTUM, DECAY = 64, 0.1, 0.9, 5e-4
FORGETTING_STEPS, FEATURE_STEPS, FINAL_STEPS = 1200, 300, 600
FORGETTING_TRAININGS, FINAL_TRAININGS, FEATURE_SEED = 3, 2, 7
CHECK_EVERY = 15


class Digits(NamedTuple):
    """Pixels in [0, 1], float32 (n, 64), and labels, to train on and to test."""

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="train on every window as well")
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    parser.add_argument("--shift", type=int, default=0, help="other seeds: all of them, so many sets further")
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = load()
    difficulty = forgetting(digits, args.shift)
    print(f"{(difficulty == 0).mean():.0%} of the digits are never forgotten\n")
    print("| ratio | start | chosen | hardest | random | best (start) | Spearman |\n" + "| --- " * 7 + "|")
    for ratio in map(float, args.ratios.split(",")):
        print("| " + " | ".join(line(digits, difficulty, ratio, args.shift, args.all)) + " |", flush=True)


def line(digits: Digits, difficulty: Floats, ratio: float, shift: int, every_window: bool) -> list[str]:
    """One line of the table."""
    plan = choose(digits, difficulty, ratio, shift)
    hardest = window(digits, difficulty, ratio, 0)
    tested = [accuracy(digits, rows, shift) for rows in (plan.ids, hardest, subset(digits, ratio, shift))]
    cells = [f"{ratio:g}", f"{plan.info['start']:.2f}", *(f"{each:.3f}" for each in tested)]
    if not every_window:
        return [*cells, "-", "-"]
    starts, judged = plan.info["curve"]["start"], plan.info["curve"]["accuracy"]
    real = [accuracy(digits, window(digits, difficulty, ratio, k), shift) for k in range(len(starts))]
    best = int(np.argmax(real))
    return [*cells, f"{real[best]:.3f} ({starts[best]:.2f})", f"{spearmanr(judged, real)[0]:.2f}"]


def load() -> Digits:
    """Six digits of ten to train on, the others to test, the classes alike."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        pixels, labels, train_size=0.6, stratify=labels, random_state=0
    )
    return Digits(*map(torch.from_numpy, (train, train_labels, test, test_labels)))


def network(seed: int) -> torch.nn.Sequential:
    """An MLP 64-128-64-10."""
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for one, other in itertools.pairwise(SIZES):
        layers += [torch.nn.Linear(one, other), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def train(
    digits: Digits, rows: Int, steps: int, seed: int, learned: list[torch.Tensor] | None = None
) -> torch.nn.Module:
    """Train on some rows, drawn with replacement; note now and then which digits are learned."""
    with torch.random.fork_rng(devices=[]):
        model = network(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        here = torch.from_numpy(np.sort(rows))
        for step in range(steps):
            drawn = here[torch.randint(len(here), (BATCH,))]
            loss = cross_entropy(model(digits.train[drawn]), digits.train_labels[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if learned is not None and step % CHECK_EVERY == 0:
                with torch.no_grad():
                    learned.append(model(digits.train).argmax(1) == digits.train_labels)
    return model


def forgetting(digits: Digits, shift: int = 0) -> Floats:
    """How often each digit is learned at a check and not at the next, mean of trainings; never learned: most."""
    every = np.arange(len(digits.train))
    counts = []
    for seed in range(FORGETTING_TRAININGS * shift, FORGETTING_TRAININGS * (shift + 1)):
        learned: list[torch.Tensor] = []
        train(digits, every, FORGETTING_STEPS, seed, learned)
        seen = torch.stack(learned).numpy()
        count = (seen[:-1] & ~seen[1:]).sum(0)
        count[~seen.any(0)] = count.max() + 1
        counts.append(count)
    return np.mean(counts, axis=0)


def subset(digits: Digits, ratio: float, shift: int = 0) -> Int:
    """Random rows, the same share of each class."""
    labels = digits.train_labels.numpy()
    rng = np.random.default_rng(FEATURE_SEED + shift)
    width = windows.cut(np.bincount(labels), round(ratio * len(labels)), 1).count
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:count] for c, count in enumerate(width)])


def choose(digits: Digits, difficulty: Floats, ratio: float, shift: int = 0) -> Plan:
    """The window of BWS, by features of a network trained on a random subset of the same size."""
    model = train(digits, subset(digits, ratio, shift), FEATURE_STEPS, FEATURE_SEED + shift)
    with torch.no_grad():
        features = model[:-1](digits.train).numpy()
    labels = digits.train_labels.numpy()
    return windows.fit(difficulty, features, budget=round(ratio * len(labels)), labels=labels)


def window(digits: Digits, difficulty: Floats, ratio: float, k: int) -> Int:
    """The rows of one window, whatever it is worth."""
    labels = digits.train_labels.numpy()
    ranking = windows.prepare(difficulty, digits.train.numpy(), labels=labels)
    return ranking.rows(ranking.windows(round(ratio * len(labels))), k)


def accuracy(digits: Digits, rows: Int, shift: int = 0) -> float:
    """Of networks trained on some rows, on the digits to test."""
    right = []
    for seed in range(FINAL_TRAININGS * shift, FINAL_TRAININGS * (shift + 1)):
        model = train(digits, rows, FINAL_STEPS, seed)
        with torch.no_grad():
            right.append((model(digits.test).argmax(1) == digits.test_labels).float().mean().item())
    return float(np.mean(right))


if __name__ == "__main__":
    main()
