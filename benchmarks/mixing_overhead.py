"""What online mixing adds to a training step, as ratios within one run, and where the time goes.

    python benchmarks/mixing_overhead.py [--steps 30] [--domains 10,1000] [--results FILE]

An unmodified `transformers.Trainer` trains a decoder on rows of 128 random tokens, so nothing depends on the data. Two
answers, since the machine's own noise is often larger than what is asked for:

* inside: seconds spent in the sampler, the forward hook and the callback's events, with a clock around each, against
  the seconds of the whole steps. Parts are exclusive of each other.
* outside: the median step with the callback against the one without, in blocks that alternate.

`--clock cpu` counts the processor's time instead, for a machine that does other things too; it goes with one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from command import keep, markdown
from mixing_model import Collator, Rows, arguments, decoder
from transformers import PrinterCallback, Trainer, TrainerCallback

from tasksift.online.callback import OnlineMixing
from tasksift.online.domains import Domains
from tasksift.online.sampler import OnlineSampler

SIZES = {
    "2M": {"vocabulary": 4096, "hidden": 128, "layers": 4},
    "10M": {"vocabulary": 8192, "hidden": 256, "layers": 7},
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LENGTH = 128
ROWS = 20_000
PARTS = {"_forward": "hook", "on_step_begin": "events", "on_step_end": "events", "on_log": "log"}
FIRST = 3
"""Steps at the beginning of a block that do not count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(SIZES))
    parser.add_argument("--domains", default="10,1000")
    parser.add_argument("--batches", default="mixed,single")
    parser.add_argument("--mode", default="released")
    parser.add_argument("--batch", type=int, default=32, help="rows of a step")
    parser.add_argument("--steps", type=int, default=30, help="of a block")
    parser.add_argument("--blocks", type=int, default=3, help="with the callback, and as many without it")
    parser.add_argument("--log-every", type=int, default=10, help="steps between lines of the log")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--results", type=Path, help="JSON file to write all figures to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = []
    for model in args.models.split(","):
        for domains in map(int, args.domains.split(",")):
            for batches in args.batches.split(","):
                found.append(measure(model, domains, batches, args))
                keep(args.results, found)
    print(report(found))


class Clock:
    """Seconds by part; a part inside another one does not count for the outer."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = {}
        self.running = False
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its seconds counted."""

        @wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = self.now()
            try:
                return function(*given, **named)
            finally:
                spent = self.now() - start
                inner = self._inner.pop()
                self._inner[-1] += spent
                if self.running:
                    self.seconds[part] = self.seconds.get(part, 0.0) + spent - inner

        return counted


class Stopwatch(TrainerCallback):
    """Seconds of each step that counts; starts the clock after the first ones."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.steps: list[float] = []
        self._before = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step goes from the end of the one before to its own, so it has the draw of the next rows in it."""
        now = self.clock.now()
        if state.global_step > FIRST:
            self.steps.append(now - self._before)
        self._before = now
        self.clock.running = FIRST <= state.global_step < state.max_steps


class TimedSampler(OnlineSampler):
    """An `OnlineSampler` under a clock."""

    def __init__(self, clock: Clock, *given: Any, **named: Any) -> None:
        self.clock = clock
        super().__init__(*given, **named)
        for part in ("observe", "update", "state_dict"):
            setattr(self, part, clock.timed(part, getattr(self, part)))

    def __iter__(self) -> Iterator[int]:
        rows = super().__iter__()
        draw = self.clock.timed("draw", lambda: next(rows, None))
        while (row := draw()) is not None:
            yield row


class TimedMixing(OnlineMixing):
    """An `OnlineMixing` under a clock."""

    def __init__(self, clock: Clock, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for name, part in PARTS.items():
            setattr(self, name, clock.timed(part, getattr(self, name)))
        self._clock = clock

    def on_train_begin(self, *given: Any, **named: Any) -> None:
        """The log is opened here."""
        super().on_train_begin(*given, **named)
        assert self._history is not None
        vars(self._history)["append"] = self._clock.timed("log", self._history.append)


def measure(size: str, domains: int, batches: str, args: argparse.Namespace) -> dict[str, Any]:
    """One setting: blocks with and without the callback in turn."""
    rng = np.random.default_rng(0)
    tokens = list(rng.integers(1, SIZES[size]["vocabulary"], (ROWS, LENGTH), dtype=np.int32))
    labels = [f"domain {k % domains}" for k in range(ROWS)]
    model = decoder(**SIZES[size], longest=LENGTH, seed=0)
    clock = Clock(CLOCKS[args.clock])
    steps: dict[bool, list[list[float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="mixing-overhead-") as folder:
        for block in range(2 * args.blocks):
            # With and without in turn, and the first of a pair in turn too.
            mixed = block % 4 in (0, 3)
            watch = Stopwatch(clock)
            callbacks: list[TrainerCallback] = [watch]
            if mixed:
                sampler = TimedSampler(
                    clock, Domains.of(labels), batch_size=args.batch, mode=args.mode, batches=batches, seed=block
                )  # fmt: skip
                callbacks = [TimedMixing(clock, sampler, log=Path(folder) / f"{block}.jsonl"), watch]
            trainer = Trainer(
                model=model,
                args=arguments(
                    Path(folder), batch=args.batch, steps=FIRST + args.steps, seed=0, learning_rate=1e-4,
                    logging_steps=args.log_every,
                ),
                train_dataset=Rows(tokens), data_collator=Collator(), callbacks=callbacks,
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            steps[mixed].append(watch.steps)
    every = [step for block in steps[True] for step in block]
    pairs = zip(*(map(median, steps[kind]) for kind in (True, False)), strict=True)
    return {
        "model": size,
        "parameters": sum(each.numel() for each in model.parameters()),
        "domains": domains,
        "batches": batches,
        "mode": args.mode,
        "batch": args.batch,
        "threads": args.threads,
        "clock": args.clock,
        "steps": len(every),
        "step_seconds": median(every),
        "inside": sum(clock.seconds.values()) / sum(every),
        "parts": {part: seconds / len(every) for part, seconds in sorted(clock.seconds.items())},
        "outside": [one / other - 1 for one, other in pairs],
    }


def report(found: list[dict[str, Any]]) -> str:
    """The ratios, and the parts in milliseconds of a step."""
    parts = sorted({part for each in found for part in each["parts"]})
    setting = ["model", "domains", "batches"]
    ratios = [
        [
            *(each[name] for name in setting), f"{1000 * each['step_seconds']:.0f}", f"{each['inside']:.2%}",
            f"{median(each['outside']):+.1%} ({min(each['outside']):+.1%} to {max(each['outside']):+.1%})",
        ]
        for each in found
    ]  # fmt: skip
    split = [
        [*(each[name] for name in setting), *(f"{1000 * each['parts'].get(part, 0.0):.2f}" for part in parts)]
        for each in found
    ]
    first = found[0]
    return (
        f"{first['batch']} rows of {LENGTH} tokens a step, {first['threads']} threads, mode {first['mode']}, "
        f"{first['clock']} time\n\n"
        + markdown([*setting, "step, ms", "inside", "outside: median step, with to without"], ratios)
        + "\n\nms of a step\n\n"
        + markdown([*setting, *parts], split)
    )


if __name__ == "__main__":
    main()
