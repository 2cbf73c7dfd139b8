"""Near-copies in the pool: how much of a selection they take, preset by preset.

The stress of the TSDS paper (arXiv 2410.11303): 1 % of the pool's rows are copied 10, 100 and 1,000 times, here with
small edits, and the same number of rows is selected from every such pool. Run it as

    python benchmarks/near_copies.py --data DIR --results copies.json --plot copies.png

The default representation is fitted on the pool, so copies change it too. `--fit clean` takes the one fitted on the
pool without copies, in which a row's vector does not depend on the others, as with any pretrained encoder; `--fit
dirty` runs everything on the pool with copies. Runs that the results hold already are not made again, so a long
benchmark can be stopped and continued.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import string
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
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
KEY = ("clean_rows", "fit", "variant", "factor", "task", "preset", "sigma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pool_<name>.parquet and targets/")
    parser.add_argument("--pool", default="50k")
    parser.add_argument("--rows", type=int, help="use only so many rows of the pool, drawn at random")
    parser.add_argument("--tasks", default="gsm8k,nl2bash,medmcqa,clinc150")
    parser.add_argument("--factors", default="0,10,100", help="copies of each row that is copied; 1000 takes long")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="how the copied rows are chosen")
    parser.add_argument("--fit", default="clean,dirty", help="which pool the representation is fitted on")
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
    pool = clean_pool(args, work)
    sources = np.array(pq.read_table(pool.rows, columns=["source"])["source"].to_pylist())
    n = len(sources)
    budget = round(SHARE * n)
    shuffled = np.random.default_rng(args.seed).permutation(n)
    done = [{name: result[name] for name in KEY} for result in results]
    settings = [(preset, "auto") for preset in args.presets.split(",")]
    settings += [("tsds", sigma) for sigma in args.sigmas.split(",") if sigma]
    cells = itertools.product(
        map(int, args.factors.split(",")), args.variants.split(","), args.tasks.split(","), args.fit.split(",")
    )
    for factor, variant, task, fit in cells:
        if not factor and fit == "dirty":
            continue
        asked = [dict(zip(KEY, (n, fit, variant, factor, task, *setting), strict=True)) for setting in settings]
        asked = [key for key in asked if key not in done]
        if not asked:
            continue
        target = args.data / "targets" / f"{task}.dev.jsonl"
        copied = shuffled[:budget]
        if variant == "near":
            # The rows that the preset `nearest` ranks first, and random ones.
            run = select(pool.rows, work / "out.parquet", target=target, budget=budget // 2, preset="nearest",
                         features=pool.features)  # fmt: skip
            near = run.column("position")
            copied = np.concatenate([near, shuffled[~np.isin(shuffled, near)][: budget - len(near)]])
        dirty = pool
        if factor:
            name = f"x{factor}" if variant == "random" else f"x{factor}-{task}"
            dirty = Pool(work / name / "pool.parquet", work / name / "features", work / name / "vectors")
            if not dirty.rows.exists():
                write_copies(pool.rows, dirty.rows, copied, factor, args.seed)
        inputs = (
            given(pool, dirty, target, work)
            if fit == "clean"
            else ({"pool": dirty.rows, "target": target, "features": dirty.features})
        )
        group = np.full(n, -1)
        group[copied] = np.arange(len(copied))
        group = np.concatenate([group, np.repeat(np.arange(len(copied)), factor)])
        own = np.concatenate([sources, np.repeat(sources[copied], factor)]) == f"train_{task}"
        for key in asked:
            sigma = {} if key["sigma"] == "auto" else {"sigma": key["sigma"]}
            fresh = fit == "dirty" and not dirty.features.exists()
            run = select(
                **inputs, **sigma, out=work / "out.parquet", budget=budget, preset=key["preset"], seed=args.seed
            )
            fresh &= dirty.features.exists()
            results.append({**key, "fresh": fresh, **describe(run, group, own)})
            keep(args.results, results)


@dataclass(frozen=True)
class Pool:
    """Where a pool's rows are, its features by the command line, and its vectors by the model of the clean pool."""

    rows: Path
    features: Path
    vectors: Path


def clean_pool(args: argparse.Namespace, work: Path) -> Pool:
    """The pool without copies, and its features."""
    rows = args.data / f"pool_{args.pool}.parquet"
    n = pq.read_metadata(rows).num_rows
    if args.rows and args.rows < n:
        some = np.sort(np.random.default_rng(args.seed).permutation(n)[: args.rows])
        (work / "x0").mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(rows).take(pa.array(some)), work / "x0" / "pool.parquet")
        rows = work / "x0" / "pool.parquet"
    pool = Pool(rows, work / "x0" / "features", work / "x0" / "features")
    if not pool.features.exists():
        target = next(args.data.glob("targets/*.dev.jsonl"))
        select(rows, work / "out.parquet", target=target, budget=1, preset="nearest", features=pool.features)
    return pool


def given(pool: Pool, dirty: Pool, target: Path, work: Path) -> dict[str, Any]:
    """The dirty pool and the target as vectors, by the model that was fitted on the clean pool."""
    # In a process of its own, so that this one stays small.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(embed, pool, dirty, target, work / "target.npy").result()
    return {"pool": None, "vectors": dirty.vectors, "target_vectors": work / "target.npy", "no_normalize": True}


def embed(pool: Pool, dirty: Pool, target: Path, target_vectors: Path) -> None:
    """Write the vectors of the target, and those of the dirty pool if they are not there yet."""
    from tasksift.represent.tfidf import Tfidf
    from tasksift.rows import TextReader

    model = Tfidf.load(pool.features / "model")
    reader = TextReader(None)

    def vectors(records: list[dict[str, Any]]) -> NDArray[np.float32]:
        return model.transform([reader.join(*reader.read(record, "")) for record in records])

    with target.open(encoding="utf-8") as lines:
        np.save(target_vectors, vectors([json.loads(line) for line in lines]))
    if dirty.vectors.exists():
        return
    part = dirty.vectors.with_name("vectors.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    # The vectors of the clean rows are there already: a row's vector does not depend on the others.
    for shard in pool.features.glob("shard-*.npy"):
        shutil.copy(shard, part / f"clean-{shard.name}")
    skip = pq.read_metadata(pool.rows).num_rows
    for k, batch in enumerate(pq.ParquetFile(dirty.rows).iter_batches(BATCH_ROWS, columns=["prompt", "response"])):
        if batch.num_rows > skip:
            np.save(part / f"copies-{k}.npy", vectors(batch.slice(skip).to_pylist()))
        skip -= min(skip, batch.num_rows)
    part.rename(dirty.vectors)


def write_copies(pool: Path, out: Path, copied: Int, factor: int, seed: int) -> None:
    """Write the pool with `factor` edited copies of each row of `copied` behind it, group by group."""
    out.parent.mkdir(parents=True, exist_ok=True)
    source = pq.ParquetFile(pool)
    originals = pq.read_table(pool).take(pa.array(copied)).to_pylist()
    part = out.with_suffix(".part")
    with pq.ParquetWriter(part, source.schema_arrow) as writer:
        for batch in source.iter_batches(BATCH_ROWS):
            writer.write_batch(batch)
        rows: list[dict[str, Any]] = []
        for group, original in enumerate(originals):
            rows.extend(edited(original, factor, np.random.default_rng([seed, group])))
            if len(rows) >= BATCH_ROWS or group == len(originals) - 1:
                writer.write_table(pa.Table.from_pylist(rows, schema=source.schema_arrow))
                rows = []
    part.rename(out)


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


def describe(run: Run, group: Int, own: NDArray[np.bool_]) -> dict[str, Any]:
    """What the copied rows and their copies took of a selection.

    `group` says for every row of the pool which copied row it is or comes from, or -1; `own`, whether it is of the
    task's own source.
    """
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
        "own_share": float(own[position].mean()) if own.any() else None,
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
    """Tables of all runs: what the presets took, bandwidth by bandwidth for TSDS, and what TSDS cost."""
    parts = []
    for rows, fit, variant in dict.fromkeys((r["clean_rows"], r["fit"], r["variant"]) for r in results):
        # Without copies both pools are one.
        here = [
            r for r in results
            if r["clean_rows"] == rows and r["variant"] == variant and (r["fit"] == fit or not r["factor"])
        ]  # fmt: skip
        cells = {(r["task"], r["factor"], r["preset"], r["sigma"]): r for r in here}
        tasks = list(dict.fromkeys(r["task"] for r in here))
        lines = sorted({key[:2] for key in cells}, key=lambda line: (tasks.index(line[0]), line[1]))
        parts.append(f"{TITLES[variant]}; {rows:,} rows; representation fitted on the {fit} pool (* and in that run)")
        parts.append(shares(cells, lines, [(preset, "auto") for preset in PRESETS]))
        asked = sorted({r["sigma"] for r in here if r["sigma"] != "auto"}, key=float)
        if asked:
            some = [line for line in lines if any((*line, "tsds", sigma) in cells for sigma in asked)]
            bandwidths = [("tsds", sigma) for sigma in asked]
            parts.append(shares(cells, some, [("tsds-uniform", "auto"), *bandwidths, ("tsds", "auto")]))
        facts = [cells.get((*line, "tsds", "auto")) for line in lines]
        parts.append(
            markdown(
                ["target", "copies", "mass on copied rows", "σ", "breadth", "rows in plan", "own source", "s", "MB"],
                [
                    [
                        r["task"], f"{r['factor']:,}", f"{r['group_mass']:.1%}", f"{r['sigma_used']:.3f}",
                        f"{r['breadth']:.0f}", f"{r['support']:,}", percent(r.get("own_share")),
                        f"{r['seconds']:.0f}" + "*" * r["fresh"], f"{r['peak_mb']:,}",
                    ]
                    for r in facts if r
                ],
            )
        )  # fmt: skip
    return "\n\n".join(parts)


def shares(
    cells: dict[tuple[Any, ...], dict[str, Any]], lines: list[tuple[str, int]], columns: list[tuple[str, str]]
) -> str:
    """What the copied rows took, line by line: the redundant part, and all of it in parentheses."""

    def share(r: dict[str, Any] | None) -> str:
        return f"{r['redundant_share']:.1%} ({r['group_share']:.0%})" if r else "-"

    head = [preset if sigma == "auto" else f"σ {sigma}" for preset, sigma in columns]
    table = [[line[0], f"{line[1]:,}", *(share(cells.get((*line, *column))) for column in columns)] for line in lines]
    return markdown(["target", "copies", *head], table)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Redundant share over copies per row: a thick line a preset (mean of the targets), thin ones for the targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    largest = max(r["clean_rows"] for r in results)
    runs = [r for r in results if r["sigma"] == "auto" and r["fit"] == "clean" and r["clean_rows"] == largest]
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
