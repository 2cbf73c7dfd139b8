"""Tables and plots of comparisons, in Markdown and SVG, from the folders that the other scripts wrote."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tasksift.evaluate.folder import CELLS, read_cells
from tasksift.evaluate.names import FULL, ZERO_SHOT
from tasksift.evaluate.summary import summarize

MARKS = {"better": "", "tie": " ~", "worse": " ↓", "too few seeds": " ?", "too few rows": " ?"}
"""Behind a score: what it is against random at the same budget; most are better, so that goes without a mark."""


def main() -> None:
    """Print every table of a comparison, and draw its curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    parser.add_argument("--metric", default="loss")
    parser.add_argument("--plot", type=Path, help="SVG or PNG (needs matplotlib)")
    args = parser.parse_args()
    summary = summarize(read_cells(args.comparison / CELLS))
    tables = [table for table in summary["tables"] if table["metric"] == args.metric]
    for budget in dict.fromkeys(table["budget"] for table in tables):
        print(f"\n### {budget} of the pool\n")
        here = [table for table in tables if table["budget"] == budget]
        here.sort(key=lambda table: (table["task"] is None, table["task"] or ""))
        print("\n".join([*wide(here), "", *costs(here[-1])]))
    print("\n".join(["", *losers(summary, args.metric), "", *map("* {}".format, summary["notes"])]))
    if args.plot:
        plot([curve for curve in summary["curves"] if curve["metric"] == args.metric], args.plot)


def wide(tables: list[dict[str, Any]]) -> list[str]:
    """One line an arm, one column a table; the order and the difference to random are those of the last, the mean's."""
    order = [row["arm"] for row in tables[-1]["rows"]]
    heads = [table["task"] or "mean" for table in tables]
    lines = [f"| arm | {' | '.join(heads)} | better than random by |", "| --- |" + " ---: |" * (len(heads) + 1)]
    for arm in order:
        found = [next((row for row in table["rows"] if row["arm"] == arm), None) for table in tables]
        cells = [_score(row) for row in found]
        last = found[-1]
        against = last["versus_random"] if last else None
        by = "" if against is None else f"{against['mean']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]"
        lines.append(f"| {arm} | {' | '.join(cells)} | {by} |")
    return lines


def costs(table: dict[str, Any]) -> list[str]:
    """One line an arm: operations and seconds of features, selection and training, means over seeds and tasks."""
    names = [f"{part}_{unit}" for part in ("feature", "select", "train") for unit in ("flops", "seconds")]
    lines = [
        "| arm | features: GFLOPs, s | selection: GFLOPs, s | training: GFLOPs, s |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in table["rows"]:
        flops, seconds = ([row["costs"][name] for name in names[k::2]] for k in (0, 1))
        spent = " | ".join(f"{a / 1e9:,.0f}, {b:,.1f}" for a, b in zip(flops, seconds, strict=True))
        lines.append(f"| {row['arm']} | {spent} |")
    return lines


def losers(summary: dict[str, Any], metric: str) -> list[str]:
    """Every selection that is below random anywhere."""
    there = [loser for loser in summary["losers"] if loser["metric"] == metric]
    lines = ["Below random:", ""] if there else ["No selection is below random."]
    for loser in there:
        beyond = "beyond noise" if loser["verdict"] == "worse" else "within noise"
        ends = f"[{loser['low']:+.3f}, {loser['high']:+.3f}]"
        lines.append(
            f"* {loser['arm']} on {loser['task'] or 'the mean'} at {loser['budget']}: {loser['mean']:+.3f} {ends}, "
            f"{beyond}"
        )
    return lines


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    """One panel a task: score over the fraction of the pool, with the lines of zero-shot and the full pool."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "the same bytes every time"})
    curves = sorted(curves, key=lambda curve: (curve["task"] is None, curve["task"] or ""))
    across = 3
    down = -(-len(curves) // across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 3 * down), squeeze=False, layout="constrained")
    colours = plt.get_cmap("tab10").colors
    arms = dict.fromkeys(line["arm"] for curve in curves for line in curve["lines"] if line["arm"] != "random")
    styles = {arm: {"color": colours[k % 10], "linestyle": "-" if k < 10 else "--"} for k, arm in enumerate(arms)}
    styles["random"] = {"color": "black", "linewidth": 2.5}
    for axis, curve in zip(axes.flat, curves, strict=False):
        for line in curve["lines"]:
            at = [100 * point["fraction"] for point in line["points"]]
            style = {"marker": "o", "markersize": 3, "linewidth": 1, **styles[line["arm"]]}
            axis.plot(at, [point["score"] for point in line["points"]], label=line["arm"], **style)
        for name, dash in ((ZERO_SHOT, ":"), (FULL, "-.")):
            height = curve["zero" if name == ZERO_SHOT else "full"]
            if height is not None:
                axis.axhline(height, color="grey", linestyle=dash, linewidth=1.5, label=name)
        axis.set(title=curve["task"] or "mean over tasks", xscale="log", xlabel="% of the pool", ylabel=curve["metric"])
        ticks = sorted({100 * point["fraction"] for line in curve["lines"] for point in line["points"]})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    for axis in list(axes.flat)[len(curves) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _score(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    against = row["versus_random"]
    mark = "" if against is None or row["arm"] in (ZERO_SHOT, FULL) else MARKS[against["verdict"]]
    text = f"{row['score']:.3f}{mark}"
    return f"**{text}**" if row["tied_with_best"] and row["arm"] not in (ZERO_SHOT, FULL) else text


if __name__ == "__main__":
    main()
