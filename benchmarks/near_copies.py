"""Near-copies in the pool: how much of a selection they take, preset by preset.

The stress of the TSDS paper (arXiv 2410.11303, section 5): 1 % of the pool's rows are copied 10, 100 and 1,000 times,
here with small edits, and the same number of rows is selected from every such pool. Run it as

    python benchmarks/near_copies.py --data DIR --results copies.json --plot copies.png

Runs that the results hold already are not made again, so a long benchmark can be stopped and continued.
"""

from __future__ import annotations

import argparse
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from command import Run, earlier, keep, markdown, select
from numpy.typing import NDArray

Int = NDArray[np.int64]

PRESETS = ("tsds", "tsds-uniform", "nearest", "round-robin", "random")
VARIANTS = ("random", "near")
TITLES = {
    "random": "copied: 1 % of the rows at random",
    "near": "copied: half at random, half nearest to the target",
}
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#777777")
SHARE = 0.01
"""Of the pool's rows: how many are copied, and how many are selected."""

BATCH_ROWS = 10_000
KEY = ("variant", "factor", "task", "preset", "sigma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pool_<name>.parquet and targets/")
    parser.add_argument("--pool", default="50k")
    parser.add_argument("--tasks", default="gsm8k,nl2bash,medmcqa,clinc150")
    parser.add_argument("--factors", default="0,10,100,1000", help="copies of each row that is copied")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="how the copied rows are chosen")
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--sigmas", default="", help="further bandwidths for the preset tsds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep pools and features here; by default a temporary folder")
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    parser.add_argument("--plot", type=Path, help="PNG or SVG (needs matplotlib)")
    args = parser.parse_args()
    results = earlier(args.results)
    with tempfile.TemporaryDirectory(prefix="near-copies-") as folder:
        measure(args, args.work or Path(folder), results)
    print(report(results))
    if args.plot:
        plot(results, args.plot)


def measure(args: argparse.Namespace, work: Path, results: list[dict[str, Any]]) -> None:
    """Make the runs that `results` lacks, and write it after each."""
    pool = args.data / f"pool_{args.pool}.parquet"
    n = pq.read_metadata(pool).num_rows
    budget = round(SHARE * n)
    shuffled = np.random.default_rng(args.seed).permutation(n)
    settings = [(preset, "auto") for preset in args.presets.split(",")]
    settings += [("tsds", sigma) for sigma in args.sigmas.split(",") if sigma]
    for factor in map(int, args.factors.split(",")):
        for variant in args.variants.split(","):
            for task in args.tasks.split(","):
                target = args.data / "targets" / f"{task}.dev.jsonl"
                asked = [dict(zip(KEY, (variant, factor, task, *setting), strict=True)) for setting in settings]
                known = [{name: result[name] for name in KEY} for result in results]
                asked = [key for key in asked if key not in known]
                if not asked:
                    continue
                copied = shuffled[:budget]
                if variant == "near":
                    near = nearest_rows(pool, target, work, budget // 2)
                    copied = np.concatenate([near, shuffled[~np.isin(shuffled, near)][: budget - len(near)]])
                place = work / (f"x{factor}" if variant == "random" or not factor else f"x{factor}-{task}")
                dirty = pool if not factor else place / "pool.parquet"
                if not dirty.exists():
                    place.mkdir(parents=True)
                    write_copies(pool, dirty, copied, factor, args.seed)
                for key in asked:
                    sigma = {} if key["sigma"] == "auto" else {"sigma": key["sigma"]}
                    out = work / "out.parquet"
                    features = place / "features"
                    fresh = not features.exists()
                    run = select(
                        dirty, target, out, budget=budget, features=features, preset=key["preset"], seed=args.seed,
                        **sigma,
                    )  # fmt: skip
                    facts = describe(run, group_of(n, copied, factor))
                    results.append({**key, "fresh": fresh and features.exists(), **facts})
                    keep(args.results, results)


def nearest_rows(pool: Path, target: Path, work: Path, count: int) -> Int:
    """The rows of the clean pool that the preset `nearest` ranks first."""
    run = select(pool, target, work / "out.parquet", budget=count, features=work / "x0" / "features", preset="nearest")
    rows: Int = run.column("position")
    return rows


def write_copies(pool: Path, out: Path, copied: Int, factor: int, seed: int) -> None:
    """Write the pool with `factor` edited copies of each row of `copied` behind it, group by group."""
    source = pq.ParquetFile(pool)
    originals = pq.read_table(pool).take(pa.array(copied)).to_pylist()
    with pq.ParquetWriter(out, source.schema_arrow) as writer:
        for batch in source.iter_batches(BATCH_ROWS):
            writer.write_batch(batch)
        rows: list[dict[str, Any]] = []
        for group, original in enumerate(originals):
            rows.extend(edited(original, factor, np.random.default_rng([seed, group])))
            if len(rows) >= BATCH_ROWS or group == len(originals) - 1:
                writer.write_table(pa.Table.from_pylist(rows, schema=source.schema_arrow))
                rows = []


def edited(row: dict[str, Any], count: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Copies of a row with one or two small edits each, in the prompt or the response; no two alike if it can be."""
    seen = {(row["prompt"], row["response"])}
    for k in range(count):
        for _ in range(20):
            text = {"prompt": row["prompt"], "response": row["response"]}
            for _ in range(int(rng.integers(1, 3))):
                length = np.array([len(text["prompt"]), len(text["response"])], dtype=float) + 1e-9
                field = ("prompt", "response")[int(rng.random() < length[1] / length.sum())]
                text[field] = edit(text[field], rng)
            if (text["prompt"], text["response"]) not in seen:
                break
        seen.add((text["prompt"], text["response"]))
        yield {**row, **text, "id": f"{row['id']}/copy/{k}"}


def edit(text: str, rng: np.random.Generator) -> str:
    """Drop a word, swap two, repeat one, or mistype one; a text of fewer than three words is only mistyped."""
    words = text.split(" ")
    kind = rng.choice(["drop", "swap", "repeat", "typo"]) if len(words) > 2 else "typo"
    k = int(rng.integers(len(words) - (kind == "swap")))
    if kind == "drop":
        del words[k]
    elif kind == "swap":
        words[k], words[k + 1] = words[k + 1], words[k]
    elif kind == "repeat":
        words.insert(k, words[k])
    elif words[k]:
        at = int(rng.integers(len(words[k])))
        words[k] = words[k][:at] + str(rng.choice(list(string.ascii_lowercase))) + words[k][at + 1 :]
    return " ".join(words)


def group_of(n: int, copied: Int, factor: int) -> Int:
    """For every row of the pool with copies: the number of its original in `copied`, or -1."""
    group = np.full(n, -1, dtype=np.int64)
    group[copied] = np.arange(len(copied))
    return np.concatenate([group, np.repeat(np.arange(len(copied)), factor)])


def describe(run: Run, group: Int) -> dict[str, Any]:
    """What the copied rows and their copies took of a selection."""
    position = run.column("position")
    mine = group[position]
    mine = mine[mine >= 0]
    plan = run.manifest["plan"]
    facts: dict[str, Any] = {
        "rows": len(group),
        "selected": len(position),
        "group_share": len(mine) / len(position),
        "redundant_share": (len(mine) - len(np.unique(mine))) / len(position),
        "distinct_originals": int((group[position] < 0).sum() + len(np.unique(mine))),
        "status": plan["status"],
        "breadth": plan["breadth"],
        "seconds": round(run.seconds, 1),
        "peak_mb": round(run.peak_mb),
        "stated_mb": run.stated_mb,
    }
    if plan["selector"] == "tsds":
        rows, mass = run.column("row", "plan"), run.column("probability", "plan")
        density = run.column("density", "plan")
        inside = group[rows] >= 0
        facts |= {
            "group_mass": float(mass[inside].sum()),
            "sigma_used": plan["info"]["sigma"],
            "support": len(rows),
            "density_inside": np.quantile(density[inside], [0.1, 0.5, 0.9]).tolist() if inside.any() else None,
            "density_outside": np.quantile(density[~inside], [0.1, 0.5, 0.9]).tolist() if (~inside).any() else None,
        }
    return facts


def report(results: list[dict[str, Any]]) -> str:
    """All runs as a table."""
    rows = [
        [
            r["variant"], f"{r['factor']:,}", r["task"],
            r["preset"] + ("" if r["sigma"] == "auto" else f" σ={r['sigma']}"),
            f"{r['group_share']:.1%}", f"{r['redundant_share']:.1%}", r["distinct_originals"],
            f"{r['group_mass']:.1%}" if "group_mass" in r else "",
            f"{r['breadth']:.0f}" if r["breadth"] else "", f"{r['sigma_used']:.3f}" if "sigma_used" in r else "",
            f"{r['seconds']:.0f}", f"{r['peak_mb']:,}",
        ]
        for r in results
    ]  # fmt: skip
    head = "copied rows,copies each,target,preset,in copied groups,redundant,distinct originals,mass on groups,breadth"
    return markdown([*head.split(","), "σ", "seconds", "peak MB"], rows)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Redundant share over copies per row: a thick line a preset (mean of the targets), thin ones for the targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [r for r in results if r["sigma"] == "auto"]
    variants = [name for name in VARIANTS if any(r["variant"] == name for r in runs)]
    # White behind everything, so that the picture reads the same on a dark page.
    figure, axes = pyplot.subplots(1, len(variants), figsize=(5 * len(variants), 4.2), sharey=True, squeeze=False)
    for axis, variant in zip(axes[0], variants, strict=True):
        factors = sorted({r["factor"] for r in runs if r["variant"] == variant})
        share = {
            (r["preset"], r["task"], r["factor"]): 100 * r["redundant_share"] for r in runs if r["variant"] == variant
        }
        for preset, colour in zip(PRESETS, COLOURS, strict=True):
            tasks = {task for name, task, _ in share if name == preset}
            lines = [[share.get((preset, task, factor), np.nan) for factor in factors] for task in sorted(tasks)]
            for line in lines:
                axis.plot(range(len(factors)), line, color=colour, linewidth=0.7, alpha=0.45)
            whole = [line for line in lines if np.isfinite(line).all()]
            if whole:
                mean = np.mean(whole, axis=0)
                axis.plot(range(len(factors)), mean, "o-", color=colour, linewidth=2.4, label=preset)
        # The factors are powers of ten, so even steps are a logarithmic axis with a place for 0.
        axis.set_xticks(range(len(factors)), [f"{factor:,}" for factor in factors])
        axis.set_xlabel("copies of each copied row (log)")
        axis.set_title(TITLES[variant], fontsize=10)
        axis.set_ylim(-2, 100)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("redundant near-copies in the selection, %")
    axes[0][0].legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
