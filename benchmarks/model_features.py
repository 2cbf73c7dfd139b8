"""What representations of a language model cost, as ratios within one run, and what memory their store takes.

    python benchmarks/model_features.py [--pool FILE] [--device cuda] [--threads 2] [--results FILE]

A decoder of 10 million parameters with random weights reads real text, by default docstrings of Python's standard
library. Its length decides about every ratio, so rows are measured as they are and cut to a few lengths. The ways, all
on the same tokens:

* step: forward and backward in batches, gradients of all weights summed over the batch. This is 1.00.
* forward: the forward half of it, logits of the scored tokens included.
* loop: one example at a time: forward, backward by autograd, and the gradient through the same count-sketch. A part of
  the rows stands for all of them, scaled by tokens.
* count-sketch, factored, adam: `Gradients`, per-example gradients of the linear layers in 4,096 numbers; adam is
  count-sketch after the direction that Adam would take.
* kron, tensor: `HeadSketch`, the sketch of the output layer's gradient.

Rows are dealt out to pieces of like lengths. Every way does the first piece, then the second; ratios are taken within a
piece, and the median over pieces is shown with the least and the largest. So what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.config import RunConfig
from tasksift.demo_pool import docstrings, standard_library
from tasksift.model_features import PIECE_ROWS, SHARD_ROWS, KeyFile, model_store
from tasksift.progress import silent
from tasksift.rows import Example, TextReader, Turn, expand, iter_examples

DIM = 4096
WAYS = ("step", "forward", "loop", "count-sketch", "factored", "adam", "kron", "tensor")
GRADIENTS = ("count-sketch", "factored", "adam")
STORE_DIM = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", help="a pool in any format that tasksift reads; by default docstrings")
    parser.add_argument("--examples", type=int, default=1000, help="rows of it to take")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a row at most")
    parser.add_argument("--cuts", default="128,64,32,16", help="lengths that the same rows are cut to; '' for none")
    parser.add_argument("--cut-examples", type=int, default=200, help="rows to take for each of them")
    parser.add_argument("--looped", type=int, default=100, help="rows that the loop takes")
    parser.add_argument("--ways", default=",".join(WAYS[1:]), help="what to measure against step")
    parser.add_argument("--params", default="linear", help="parameters whose gradients are taken")
    parser.add_argument("--pieces", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, help="threads of torch; by default as many as it likes")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and store, to see that everything runs")
    parser.add_argument("--store-rows", type=int, default=300_000, help="rows of the store; 0 leaves it out")
    parser.add_argument("--store-dim", type=int, default=STORE_DIM)
    parser.add_argument("--store-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="JSON file to write all figures to")
    args = parser.parse_args()
    if args.store_only:
        print(json.dumps(store_memory(args.store_rows, args.store_dim)))
        return
    figures: dict[str, Any] = {}
    if args.examples:
        figures["speed"] = speed(args)
    if args.store_rows:
        figures["memory"] = memory(2000 if args.tiny else args.store_rows, args.store_dim)
    if args.results is not None:
        args.results.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def speed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the ratios, a table for every length."""
    import torch
    from small_model import decoder

    if args.threads:
        torch.set_num_threads(args.threads)
    examples = read(args.pool)
    shape = {"hidden": 64, "layers": 2} if args.tiny else {"hidden": 256, "layers": 8}
    causal = decoder(
        [example.text for example in examples], vocabulary=500 if args.tiny else 8000, longest=args.max_length,
        device=args.device, dtype=args.dtype, **shape,
    )  # fmt: skip
    size = sum(each.numel() for each in causal.model.parameters())
    place = torch.cuda.get_device_name() if args.device != "cpu" else f"{torch.get_num_threads()} threads"
    print(f"{size:,} parameters, {args.dtype} on {args.device} ({place}), load {os.getloadavg()[0]:.1f}\n")
    chosen = np.random.default_rng(0).permutation(len(examples))[: args.examples]
    ways = list(dict.fromkeys(["step", *filter(None, args.ways.split(","))]))
    tables = []
    for cut in (args.max_length, *(int(cut) for cut in args.cuts.split(",") if cut)):
        rows = chosen if cut == args.max_length else chosen[: args.cut_examples]
        bench = Bench(causal, [examples[row] for row in rows], cut, args.params)
        looped = max(1, round(args.looped * len(rows) / len(chosen)))
        tables.append(bench.measure(ways, args.pieces, looped))
        show(tables[-1])
    return tables


def read(pool: str | None) -> list[Example]:
    """The rows of a pool that have text, or docstrings without those that the demonstration copies."""
    if pool is None:
        return [Example((Turn("document", row["text"]),)) for row in docstrings(standard_library(), silent)]
    batches = iter_examples(expand(pool, "pool"), TextReader())
    return [example for batch in batches for example in batch if example.text.strip()]


class Bench:
    """The ways on one set of rows, cut to one length."""

    def __init__(self, causal: Any, examples: Sequence[Example], cut: int, params: str) -> None:
        from tasksift.represent.chat import ChatTokens

        self.causal, self.max_length, self.params = causal, cut, params
        coder = ChatTokens(causal.tokenizer, cut)
        coded = [coder.encode(example) for example in examples]
        coded = [each for each in coded if each.scored.any()]
        # Finding tokens is no part of any way, so each is given them as they are, by the number of the row.
        self.tokens = coded
        self.examples = [Example((), str(k)) for k in range(len(coded))]
        self.lengths = np.array([len(each.ids) for each in coded])
        self._made: dict[str, Any] = {}

    def encode(self, example: Example) -> Any:
        """Stand in for `ChatTokens`."""
        return self.tokens[int(example.where)]

    def measure(self, ways: Sequence[str], count: int, looped: int) -> dict[str, Any]:
        """Run every way on every piece, and return the seconds that each of them takes for a piece."""
        from tasksift.represent.forward import batches

        whole = list(batches(self.tokens))
        count = min(count, len(whole))
        # The batches of a piece, batched again, are the same batches.
        pieces = [np.sort(np.concatenate([each.rows for each in whole[k::count]])) for k in range(count)]
        shortest = np.argsort(self.lengths)
        for way in ways:  # the first run draws signs and starts threads
            self.run(way, shortest[:2])
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for k, piece in enumerate(pieces):
            for way in ways[:: -1 if k % 2 else 1]:
                rows = self.sample(piece, looped // count) if way == "loop" else piece
                begun = time.perf_counter()
                self.run(way, rows)
                taken = time.perf_counter() - begun
                seconds[way].append(taken * float(self.lengths[piece].sum() / self.lengths[rows].sum()))
        return {
            "cut": self.max_length,
            "rows": len(self.tokens),
            "batches": len(whole),
            "tokens": int(self.lengths.sum()),
            "padded": sum(each.ids.numel() for each in whole),
            "load": round(os.getloadavg()[0], 1),
            "seconds": seconds,
        }

    def sample(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Some of the rows, short and long as all of them."""
        count = max(1, min(count, len(rows)))
        places = (np.arange(count) + 0.5) * len(rows) / count
        chosen: NDArray[np.int64] = rows[np.argsort(self.lengths[rows], kind="stable")][places.astype(np.int64)]
        return chosen

    def run(self, way: str, rows: NDArray[np.int64]) -> None:
        """Do some rows one way and wait for the device."""
        import torch

        {"step": self.step, "forward": self.forward, "loop": self.loop}.get(way, partial(self.ours, way))(rows)
        if self.causal.model.device.type == "cuda":
            torch.cuda.synchronize()

    def step(self, rows: NDArray[np.int64]) -> None:
        """Forward and backward, the gradients of all parameters summed over each batch."""
        from tasksift.represent.forward import batches
        from tasksift.represent.objectives import sft

        model = self.causal.model.requires_grad_(True)
        for batch in batches([self.tokens[row] for row in rows], device=model.device):
            model.zero_grad(set_to_none=True)
            sft(model, batch).sum().backward()
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)

    def forward(self, rows: NDArray[np.int64]) -> None:
        """The logits of the scored tokens."""
        import torch

        from tasksift.represent.forward import batches, predict

        with torch.no_grad():
            for batch in batches([self.tokens[row] for row in rows], device=self.causal.model.device):
                predict(self.causal.model, batch)

    def loop(self, rows: NDArray[np.int64]) -> None:
        """The gradients of one example after the other, projected."""
        import torch

        from tasksift.represent.forward import batches
        from tasksift.represent.objectives import sft
        from tasksift.represent.parameters import choose_parameters
        from tasksift.represent.projection import make_projection

        model = self.causal.model
        own = dict(model.named_parameters())
        own = {name: own[name].requires_grad_() for name in choose_parameters(model, self.params)}
        if "loop" not in self._made:
            layout = {name: tuple(value.shape) for name, value in own.items()}
            self._made["loop"] = make_projection("count-sketch", layout, DIM, 0, model.device)
        for row in rows:
            (batch,) = batches([self.tokens[row]], device=model.device)
            out = torch.zeros(1, DIM, device=model.device)
            grads = torch.autograd.grad(sft(model, batch).sum(), list(own.values()))
            for name, grad in zip(own, grads, strict=True):
                self._made["loop"].add(out, name, grad[None])
            out.cpu()
        model.requires_grad_(False)

    def ours(self, way: str, rows: NDArray[np.int64]) -> None:
        """What tasksift does."""
        if way not in self._made:
            self._made[way] = self.embedder(way)
        self._made[way].transform([self.examples[row] for row in rows])

    def embedder(self, way: str) -> Any:
        """Make what computes the vectors of a way, with the tokens of this bench."""
        from small_model import checkpoint

        from tasksift.represent.gradient import Gradients
        from tasksift.represent.sketch import HeadSketch

        if way in ("kron", "tensor"):
            sketch = HeadSketch(self.causal, sketch=way, max_length=self.max_length)  # type: ignore[arg-type]
            sketch._tokens = self  # type: ignore[assignment]
            return sketch
        options: dict[str, Any] = {"projection": way}
        if way == "adam":
            saved = checkpoint(self.causal)
            options = {"optimizer": "adam", "checkpoints": [saved]}
        made = Gradients(self.causal, params=self.params, dim=DIM, max_length=self.max_length, **options)
        made.tokens = self  # type: ignore[assignment]
        return made


def show(table: dict[str, Any]) -> None:
    """Print the ratios of one length."""
    mean, padded = table["tokens"] / table["rows"], table["padded"] / table["tokens"]
    print(
        f"{table['rows']:,} rows of at most {table['cut']} tokens, {mean:.0f} in the mean, {table['batches']} batches, "
        f"{padded:.2f} x with padding; load {table['load']}\n"
    )
    seconds = table["seconds"]
    print("| way | ms a row | ÷ step | ÷ forward | loop ÷ it |\n| --- | --- | --- | --- | --- |")
    for way, taken in seconds.items():
        cells = [f"{1e3 * sum(taken) / table['rows']:.1f}", ratio(taken, seconds["step"])]
        cells += [ratio(taken, seconds["forward"]) if way in ("kron", "tensor") and "forward" in seconds else ""]
        cells += [ratio(seconds["loop"], taken) if way in GRADIENTS and "loop" in seconds else ""]
        print(f"| {way} | {' | '.join(cells)} |")
    print(flush=True)


def ratio(ones: Sequence[float], others: Sequence[float]) -> str:
    """The median over pieces, with the least and the largest."""
    found = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def memory(rows: int, dim: int) -> dict[str, float]:
    """Measure and print what writing a store adds to the memory of a process, against one shard."""
    found = []
    for count in (SHARD_ROWS, rows):
        command = [sys.executable, __file__, "--store-only", "--store-rows", str(count), "--store-dim", str(dim)]
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    small, large = found
    print("| rows | one shard (MB) | before (MB) | peak (MB) | more |\n| --- | --- | --- | --- | --- |")
    for each in found:
        grown = each["after"] - each["before"]
        print(
            f"| {each['rows']:,} | {each['shard']:.1f} | {each['before']:.1f} | {each['after']:.1f} "
            f"| {grown:.1f} = {grown / each['shard']:.1f} shards |"
        )
    more = large["after"] - small["after"]
    keys = 16 * (large["rows"] - small["rows"]) / 1e6
    print(f"\n{rows:,} rows against {SHARD_ROWS:,}: {more:+.1f} MB, of which {keys:.1f} MB are mapped keys of the rows")
    return {"small": small, "large": large}


def store_memory(rows: int, dim: int) -> dict[str, float]:
    """Write a store of random vectors in this process, and return peaks of its memory in MB."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((PIECE_ROWS, dim), dtype=np.float32)
    embedder = SimpleNamespace(dim=dim, identity={"made": "up"}, transform=lambda examples: table[: len(examples)])
    with tempfile.TemporaryDirectory(prefix="model-features-") as name:
        folder = Path(name)
        with (folder / "pool.jsonl").open("w", encoding="utf-8") as pool:
            pool.writelines(json.dumps({"text": f"row {k} " + 20 * "word "}) + "\n" for k in range(rows))
        keys = np.memmap(folder / "keys.bin", dtype=np.uint64, mode="w+", shape=(rows, 2))
        keys[:, 0] = np.arange(rows)
        del keys
        files = expand(str(folder / "pool.jsonl"), "pool")
        config = RunConfig.create(pool=[files[0].path], representation="hidden", model="none", store_dtype="float16")
        before = resident("VmRSS")
        store = model_store(
            config, folder / "store", files, TextReader(), KeyFile.load(folder / "keys.bin"), embedder, silent
        )
        after = resident("VmHWM")
        shard = store.shard_rows * (dim + 1) * 4 / 1e6
    return {"rows": rows, "shard": shard, "before": before, "after": after}


def resident(field: str) -> float:
    """Resident memory of this process in MB, now (VmRSS) or at most so far (VmHWM); without /proc always the latter."""
    status = Path("/proc/self/status")
    if status.exists():
        text = status.read_text()
        at = text.index(field) + len(field) + 1
        return int(text[at : text.index("kB", at)]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


if __name__ == "__main__":
    main()
