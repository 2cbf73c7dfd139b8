r"""Vectors to measure on, as .npy files that can be memory-mapped: written in blocks, seeded, of any size.

    python benchmarks/arrays.py --rows 1000000 --dim 384 --targets 200 --kind near --arrays DIR
    python benchmarks/arrays.py --rows 1000000 --targets 200 --kind spread --arrays DIR \
        --vectors embeddings.npy --target-vectors task1.npy task2.npy

**Synthetic** (the default): unit vectors around `--clusters` random centres, which are unit vectors themselves. The
noise is isotropic and 0.47 times as long as the centre, so that two rows of one cluster are about 0.6 apart and rows of
different clusters about 1.4 (= √2, orthogonal). The number of clusters stays when the pool grows, as it would if more
were gathered from the same sources. Targets are fresh points: `near` draws them around one centre and the two next to
it, `spread` around as many different centres as there are targets (as far as there are enough).

**Real**: the rows of `--vectors`, cut to `--rows`. Where more are asked for, each further row is a given one mixed with
0 to 50 % of another one drawn at random and with noise of 0 to 0.3 of its length, so that everything from near-copies
to rows between two subjects occurs; all are scaled to unit length. Targets are the first `--targets` rows of the first
file of `--target-vectors` (`near`), or an equal share of the rows of each file (`spread`).

A pool of fewer rows is the beginning of one with more. Files that exist already are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 2**16
NOISE = 0.4685
"""Length of a cluster's noise: rows c + NOISE·g are 0.6 apart at unit length, 2 - 2/(1 + NOISE²) = 0.36."""

MOST_MIXED = 0.5
MOST_NOISE = 0.3
CENTRES, TARGETS = 2**32, 2**32 + 1
"""Streams of random numbers besides those of the pool's blocks, which have the number of the block."""


class Arrays:
    """What one measurement works on: a file with the pool, one with the targets, and `facts` that say what they are.

    Nothing is made before `make` is called.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        if (args.vectors is None) != (args.target_vectors is None):
            raise SystemExit("--vectors and --target-vectors belong together")
        self.args = args
        self.source = _Clusters(args) if args.vectors is None else _Mixed(args)
        name, dim = self.source.name, self.source.dim
        self.pool: Path = args.arrays / f"{name}-{args.rows}x{dim}-{args.dtype}.npy"
        self.target: Path = args.arrays / f"{name}-{args.kind}-{args.targets}x{dim}.npy"
        self.facts: dict[str, Any] = {"source": name, "dim": dim}
        self.facts |= {option: getattr(args, option) for option in ("kind", "rows", "targets", "dtype")}

    def make(self) -> Arrays:
        """Make the files that are missing."""
        args, dim = self.args, self.source.dim
        args.arrays.mkdir(parents=True, exist_ok=True)
        if not self.pool.exists():
            part = self.pool.with_suffix(".part")
            out = np.lib.format.open_memmap(part, mode="w+", dtype=args.dtype, shape=(args.rows, dim))
            for at in range(0, args.rows, BLOCK_ROWS):
                block = self.source.block(at, np.random.default_rng([args.seed, at // BLOCK_ROWS]))
                out[at : at + BLOCK_ROWS] = block[: args.rows - at]
            del out
            part.rename(self.pool)
        if not self.target.exists():
            rows = self.source.targets(args.kind, args.targets, np.random.default_rng([args.seed, TARGETS]))
            np.save(self.target, rows.astype(np.float32))
        return self

    def open(self) -> NDArray[Any]:
        """The pool, memory-mapped."""
        pool: NDArray[Any] = np.load(self.pool, mmap_mode="r")
        return pool

    def targets(self) -> NDArray[np.float64]:
        """The targets in float64."""
        targets: NDArray[np.float64] = np.load(self.target).astype(np.float64)
        return targets

    def warm(self) -> None:
        """Read the pool once, so that every way finds as much of it in memory as fits."""
        pool = self.open()
        for at in range(0, len(pool), BLOCK_ROWS):
            pool[at : at + BLOCK_ROWS].max()


def add_options(parser: argparse.ArgumentParser) -> None:
    """What all scripts ask for."""
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the pool (N)")
    parser.add_argument("--dim", type=int, default=384, help="dimensions (d) of synthetic vectors")
    parser.add_argument("--targets", type=int, default=200, help="number of targets (M)")
    parser.add_argument("--kind", choices=("near", "spread"), default="near", help="where the targets lie")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the pool")
    parser.add_argument("--clusters", type=int, default=2000, help="of the synthetic pool")
    parser.add_argument("--vectors", type=Path, help=".npy of real embeddings to make the pool of")
    parser.add_argument("--target-vectors", type=Path, nargs="+", help=".npy files with the tasks' embeddings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arrays", type=Path, required=True, help="folder in which arrays are made, and found again")


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= np.where(length > 0, length, 1)
    return rows


class _Clusters:
    """Synthetic rows; blocks always have BLOCK_ROWS rows, so that a row does not depend on how many are asked for."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.dim = args.dim
        rng = np.random.default_rng([args.seed, CENTRES])
        self.centres = _unit(rng.standard_normal((args.clusters, self.dim), dtype=np.float32))
        self.name = f"clusters{args.clusters}-seed{args.seed}"

    def block(self, at: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return self._around(rng.integers(len(self.centres), size=BLOCK_ROWS), rng)

    def targets(self, kind: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        if kind == "near":
            region = np.argsort(-(self.centres @ self.centres[0]))[:3]
            return self._around(rng.choice(region, size=count), rng)
        return self._around(np.resize(rng.permutation(len(self.centres)), count), rng)

    def _around(self, centres: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        rows = rng.standard_normal((len(centres), self.dim), dtype=np.float32)
        rows *= np.float32(NOISE / np.sqrt(self.dim))
        rows += self.centres[centres]
        return _unit(rows)


class _Mixed:
    """Given rows first, then mixtures of them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.given = np.load(args.vectors, mmap_mode="r")
        self.tasks = [np.load(file) for file in args.target_vectors]
        self.dim = self.given.shape[1]
        self.name = f"{args.vectors.stem}-{args.target_vectors[0].stem}+{len(self.tasks) - 1}-seed{args.seed}"

    def block(self, at: int, rng: np.random.Generator) -> NDArray[np.float32]:
        n = len(self.given)
        position = at + np.arange(BLOCK_ROWS)
        rows = self.given[position % n].astype(np.float32)
        other = self.given[rng.integers(n, size=BLOCK_ROWS)].astype(np.float32)
        share = rng.uniform(0, MOST_MIXED, size=(BLOCK_ROWS, 1)).astype(np.float32)
        noise = rng.standard_normal((BLOCK_ROWS, self.dim), dtype=np.float32)
        noise *= rng.uniform(0, MOST_NOISE, size=(BLOCK_ROWS, 1)).astype(np.float32) / np.float32(np.sqrt(self.dim))
        mixed = (1 - share) * rows + share * other + noise
        return _unit(np.where((position < n)[:, None], rows, mixed))

    def targets(self, kind: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        tasks = self.tasks[:1] if kind == "near" else self.tasks
        # Task by task in turn, so that a small number still has all of them.
        order = sorted((row, task) for task, rows in enumerate(tasks) for row in range(len(rows)))[:count]
        if len(order) < count:
            raise SystemExit(f"--targets {count}: {kind} targets of these files are only {len(order)}")
        return _unit(np.array([tasks[task][row] for row, task in order], dtype=np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    arrays = Arrays(parser.parse_args()).make()
    print(arrays.pool, arrays.target, sep="\n")


if __name__ == "__main__":
    main()
