"""Train a small decoder on the sources of a real pool under several mixtures, and measure held-out loss per source.

    python benchmarks/mixing_real.py POOL.parquet --tokens 1000000 --out FOLDER

Every source is a domain. Some rows of each are held out, the same in all runs, and rows with the text of one of them
are not trained on. A text is prompt, line break, response and an end token, cut to `--length` tokens of a byte-level
tokenizer made from the training rows; the loss is on all of them, prompts too. The model starts from random weights,
the same for all mixtures of a seed, and is trained by an unmodified `transformers.Trainer` with `OnlineMixing`.

Rows of the sources differ in length, so mixtures differ in tokens per step. A run ends after the first step at which
the tokens read, padding left out, reach `--tokens`; the learning rate follows tokens too, so all runs end on the same
schedule. Each run is written to OUT/cells and not made again; tables come from all runs there, and go to OUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from command import markdown
from mixing_model import Collator, Rows, arguments, decoder, padded
from numpy.typing import NDArray
from small_model import tokenizer
from transformers import PreTrainedTokenizerFast, PrinterCallback, Trainer, TrainerCallback

from tasksift.online.callback import OnlineMixing
from tasksift.online.domains import Domains
from tasksift.online.sampler import OnlineSampler

BASE = "proportional"
WARM_UP = 0.03
SETTINGS = ("tokens", "length", "batch", "rate", "vocabulary", "hidden", "layers", "held_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, help="columns source, prompt, response")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", default="train", help="a folder, or train: made once and kept in OUT/tokenizer")
    parser.add_argument(
        "--modes", default="released,uniform,proportional,stratified", help="paper is one too, and MODE-exact"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of each run")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row at most")
    parser.add_argument("--batch", type=int, default=32, help="rows of a step")
    parser.add_argument("--rate", type=float, default=1e-3, help="of AdamW; a cosine to 0 after 3 %% of warm-up")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--held-out", type=int, default=40, help="rows of each source, at most a third of it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    (args.out / "cells").mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(args, name) for name in SETTINGS} | {"pool": args.pool.name}
    missing = [
        (mode, int(seed))
        for seed in args.seeds.split(",")
        for mode in args.modes.split(",")
        if not (args.out / "cells" / f"{mode}-{seed}.json").exists()
    ]
    if missing:
        cells(args.out, settings)
        corpus = read(args)
        for mode, seed in missing:
            made = {"settings": settings, **train(corpus, mode, seed, args)}
            keep(args.out / "cells" / f"{mode}-{seed}.json", made)
    tables = report(cells(args.out, settings))
    (args.out / "table.md").write_text(tables + "\n", encoding="utf-8")
    print(tables)


def keep(path: Path, made: dict[str, Any]) -> None:
    """Write a finished run, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    part.rename(path)
    facts = {name: made[name] for name in ("mode", "seed", "average", "steps", "tokens", "seconds")}
    print(json.dumps(facts), file=sys.stderr, flush=True)


def cells(out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The finished runs, which must have been made with these settings."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "cells").glob("*.json"))]
    for cell in found:
        other = {name: value for name, value in cell["settings"].items() if settings[name] != value}
        if other:
            sys.exit(f"{out}/cells has runs with {other}; give the same settings or another --out")
    return found


@dataclass(frozen=True)
class Corpus:
    """Tokens of the rows to train on and of those held out, and the source of each."""

    tokens: list[NDArray[np.int32]]
    sources: list[str]
    held_out: list[NDArray[np.int32]]
    held_out_sources: list[str]


def read(args: argparse.Namespace) -> Corpus:
    """Split the pool and cut it into tokens; the split does not depend on the seed of a run."""
    table = pq.read_table(args.pool, columns=["source", "prompt", "response"]).to_pydict()
    texts = [f"{prompt}\n{response}" for prompt, response in zip(table["prompt"], table["response"], strict=True)]
    sources = np.array(table["source"], dtype=object)
    held = np.zeros(len(texts), dtype=bool)
    for at, source in enumerate(sorted(set(table["source"]))):
        rows = np.flatnonzero(sources == source)
        count = min(args.held_out, len(rows) // 3)
        held[np.random.default_rng([0, at]).choice(rows, count, replace=False)] = True
    hidden = {texts[row] for row in np.flatnonzero(held)}
    train = [row for row in np.flatnonzero(~held) if texts[row] not in hidden]
    folder = args.out / "tokenizer" if args.tokenizer == "train" else Path(args.tokenizer)
    if args.tokenizer == "train" and not folder.exists():
        tokenizer([texts[row] for row in train], args.vocabulary).save_pretrained(folder)
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    if len(words) > args.vocabulary:
        sys.exit(f"the tokenizer in {folder} has {len(words)} tokens; give --vocabulary {len(words)}")

    def cut(rows: Any) -> list[NDArray[np.int32]]:
        every = words([texts[row] for row in rows], add_special_tokens=False)["input_ids"]
        return [np.array([*ids, words.eos_token_id][: args.length], dtype=np.int32) for ids in every]

    out = np.flatnonzero(held)
    return Corpus(cut(train), [str(sources[row]) for row in train], cut(out), [str(sources[row]) for row in out])


class Meter(TrainerCallback):
    """Ends a run by tokens, gives the learning rate by tokens, and counts the rows trained on."""

    def __init__(self, limit: int, collator: Collator) -> None:
        self.limit = limit
        self.seen = 0
        self.rows: Counter[int] = Counter()
        self._collator = collator

    def rate(self, _: int) -> float:
        """The part of the learning rate that is due: a rise in a straight line, then a cosine down to 0."""
        done = min(1.0, self.seen / self.limit)
        if done < WARM_UP:
            return done / WARM_UP
        return (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the schedule is asked for the next rate."""
        self.seen = state.num_input_tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Loaders read ahead, so the batch just trained on is the oldest one given out."""
        self.rows.update(self._collator.given.popleft())
        control.should_training_stop |= self.seen >= self.limit


def train(corpus: Corpus, mode: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run and what came out of it."""
    domains = Domains.of(corpus.sources)
    name, _, counts = mode.partition("-")
    sampler = OnlineSampler(domains, batch_size=args.batch, seed=seed, mode=name, counts=counts or None)
    model = decoder(
        vocabulary=args.vocabulary, hidden=args.hidden, layers=args.layers, longest=args.length, seed=seed
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate)
    collator = Collator()
    meter = Meter(args.tokens, collator)
    log = args.out / "mixtures" / f"{mode}-{seed}.jsonl"
    log.parent.mkdir(exist_ok=True)
    trainer = Trainer(
        model=model,
        args=arguments(args.out, batch=args.batch, steps=args.tokens, seed=seed, logging_steps=10),
        train_dataset=Rows(corpus.tokens),
        data_collator=collator,
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, meter.rate)),
        callbacks=[OnlineMixing(sampler, log=log), meter],
    )
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    trained = time.perf_counter() - start
    losses = held_out_losses(model, corpus)
    counts = Counter(corpus.sources)
    rows, tokens, there = Counter[str](), Counter[str](), Counter[str]()
    for row, times in meter.rows.items():
        rows[corpus.sources[row]] += times
        tokens[corpus.sources[row]] += times * len(corpus.tokens[row])
    for source, ids in zip(corpus.sources, corpus.tokens, strict=True):
        there[source] += len(ids)
    names = domains.names
    return {
        "mode": mode,
        "seed": seed,
        "average": float(np.mean([losses[name] for name in names])),
        "weighted": sum(losses[name] * counts[name] for name in names) / len(corpus.sources),
        "worst": max(losses.values()),
        "worst_source": max(names, key=losses.__getitem__),
        "losses": losses,
        "rows_there": {name: counts[name] for name in names},
        "tokens_there": {name: there[name] for name in names},
        "rows_trained": {name: rows[name] for name in names},
        "tokens_trained": {name: tokens[name] for name in names},
        "probabilities": dict(zip(names, sampler.probabilities().tolist(), strict=True)),
        "steps": trainer.state.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
        "parameters": sum(each.numel() for each in model.parameters()),
        "seconds": round(trained, 1),
        "evaluation_seconds": round(time.perf_counter() - start - trained, 1),
        "threads": args.threads,
    }


@torch.no_grad()
def held_out_losses(model: Any, corpus: Corpus) -> dict[str, float]:
    """The mean loss per token of each source's held-out rows."""
    model.eval()
    total, count = Counter[str](), Counter[str]()
    order = np.argsort([len(ids) for ids in corpus.held_out], kind="stable")
    for part in np.array_split(order, -(-len(order) // 32)):
        batch = padded([corpus.held_out[row] for row in part])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        labels = batch["labels"][:, 1:]
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        for row, loss, tokens in zip(part, each.sum(1).tolist(), (labels >= 0).sum(1).tolist(), strict=True):
            total[corpus.held_out_sources[row]] += loss
            count[corpus.held_out_sources[row]] += tokens
    return {source: total[source] / count[source] for source in sorted(total)}


def error(values: Any) -> str:
    """Mean and standard error over seeds."""
    if len(values) < 2:
        return f"{np.mean(values):.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.4f}"


def report(found: list[dict[str, Any]]) -> str:
    """The averages of every mixture, their differences to the proportional one of the same seed, and every source."""
    modes = list(dict.fromkeys(cell["mode"] for cell in found))
    modes.sort(key=lambda mode: mode != BASE)
    runs = {mode: {cell["seed"]: cell for cell in found if cell["mode"] == mode} for mode in modes}
    base = runs.get(BASE, {})

    def paired(mode: str, name: str) -> str:
        both = sorted(set(runs[mode]) & set(base))
        if mode == BASE or not both:
            return "-"
        apart = [runs[mode][seed][name] - base[seed][name] for seed in both]
        return ("+" if np.mean(apart) >= 0 else "") + error(apart)

    measures = {"average": "mean of sources", "weighted": "weighted by rows", "worst": "worst source"}
    averages = markdown(
        ["mixture", "seeds", *measures.values(), *(f"{title} − {BASE}" for title in measures.values()), "steps", "s"],
        [
            [
                mode, len(runs[mode]),
                *(error([cell[name] for cell in runs[mode].values()]) for name in measures),
                *(paired(mode, name) for name in measures),
                *(f"{np.mean([cell[name] for cell in runs[mode].values()]):.0f}" for name in ("steps", "seconds")),
            ]
            for mode in modes
        ],
    )  # fmt: skip
    first = found[0]
    names = sorted(first["rows_there"], key=lambda name: -first["rows_there"][name])

    def passes(mode: str, name: str) -> str:
        seen = np.mean([cell["tokens_trained"][name] for cell in runs[mode].values()])
        return f"{seen / first['tokens_there'][name]:.2f}"

    def last(mode: str, name: str) -> str:
        return f"{np.mean([cell['probabilities'][name] for cell in runs[mode].values()]):.2%}"

    sources = markdown(
        ["source", "rows", *modes],
        [
            [name, f"{first['rows_there'][name]:,}"]
            + [error([cell["losses"][name] for cell in runs[mode].values()]) for mode in modes]
            for name in names
        ],
    )
    trained = markdown(
        ["source", *(f"{mode}: {what}" for mode in modes for what in ("passes", "last share"))],
        [[name, *(show(mode, name) for mode in modes for show in (passes, last))] for name in names],
    )
    setting = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in first["settings"].items())
    return (
        f"{first['parameters'] / 1e6:.2f} million parameters; {setting}.\n\n"
        "Held-out loss in nats per token, mean ± standard error over seeds; differences are within a seed.\n\n"
        f"{averages}\n\nLoss by source\n\n{sources}\n\n"
        f"How often the tokens of a source were read, and its probability at the end\n\n{trained}"
    )


if __name__ == "__main__":
    main()
