"""Pictures of the runs of `mixing_real.py`: held-out losses by source, and how one run's mixture moved.

    python benchmarks/mixing_plot.py FOLDER --losses losses.png --mixture mixture.png

FOLDER is the `--out` of the runs. Error bars are standard errors over seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tasksift.online import HistoryTable, read_history

BASE = "proportional"
COLOURS = {
    "released": "#d55e00", "paper": "#e69f00", "uniform": "#56b4e9", "proportional": "#0072b2", "stratified": "#777777",
    "released-exact": "#d55e00", "proportional-exact": "#0072b2",
}  # fmt: skip
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#777777")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--losses", type=Path, help="PNG or SVG")
    parser.add_argument("--mixture", type=Path, help="PNG or SVG")
    parser.add_argument("--run", default="released-0", help="whose mixture to draw")
    args = parser.parse_args()
    try:
        import matplotlib
    except ModuleNotFoundError:
        sys.exit("plots need matplotlib: pip install matplotlib")
    matplotlib.use("Agg")
    if args.losses:
        cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.folder.glob("cells/*.json"))]
        losses(cells, args.losses)
    if args.mixture:
        mixture(read_history(args.folder / "mixtures" / f"{args.run}.jsonl"), args.run, args.mixture)


def losses(cells: list[dict[str, Any]], path: Path) -> None:
    """Held-out loss of every source on the left, its difference to that of the proportional mixture on the right.

    Mixtures with exact counts have the colour of the same mixture by chance, and open circles.
    """
    from matplotlib import pyplot

    modes = [mode for mode in COLOURS if any(cell["mode"] == mode for cell in cells)]
    runs = {mode: {cell["seed"]: cell["losses"] for cell in cells if cell["mode"] == mode} for mode in modes}
    base = BASE if BASE in modes else modes[0]
    first = runs[base]
    names = sorted(next(iter(first.values())), key=lambda name: np.mean([each[name] for each in first.values()]))
    # White behind everything, so that the picture reads the same on a dark page.
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 1.5 + 0.21 * len(names)), sharey=True)
    for at, mode in enumerate(modes):
        heights = np.arange(len(names)) + 0.6 * ((at + 0.5) / len(modes) - 0.5)
        apart = [
            [runs[mode][seed][name] - first[seed][name] for seed in sorted(runs[mode].keys() & first.keys())]
            for name in names
        ]
        sides = [(left, [[each[name] for each in runs[mode].values()] for name in names])]
        sides += [(right, apart)] if mode != base and apart[0] else []
        for axis, values in sides:
            mean = [np.mean(each) for each in values]
            spread = [np.std(each, ddof=1) / math.sqrt(len(each)) if len(each) > 1 else 0.0 for each in values]
            axis.errorbar(
                mean, heights, xerr=spread, fmt="o", markersize=3, linewidth=1, color=COLOURS[mode], label=mode,
                markerfacecolor="none" if mode.endswith("-exact") else None,
            )  # fmt: skip
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.set_ylim(-0.8, len(names) - 0.2)
    left.set_xlabel("held-out loss, nats per token")
    right.set_xlabel(f"difference to {base}, same seed")
    right.axvline(0, color=COLOURS[base], linewidth=1)
    left.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=130, facecolor="white")


def mixture(table: HistoryTable, run: str, path: Path) -> None:
    """The probabilities of the sources that moved most between any two steps, the others thin."""
    from matplotlib import pyplot

    shares = 100 * table.probabilities
    moved = np.argsort(-np.ptp(shares, axis=0), kind="stable")[: len(LINES)]
    figure, axis = pyplot.subplots(figsize=(8, 4.2))
    axis.plot(table.steps, np.delete(shares, moved, axis=1), color="#999999", linewidth=0.5, alpha=0.5)
    for source, colour in zip(moved[np.argsort(-shares[-1, moved])], LINES, strict=False):
        axis.plot(table.steps, shares[:, source], color=colour, linewidth=1.8, label=table.names[source])
    axis.axhline(100 / len(table.names), color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel("step")
    axis.set_ylabel("probability, %")
    axis.set_title(f"{run}: {len(table.names)} sources; dotted: equal shares", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    # In the order of the lines' ends, beside them.
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
