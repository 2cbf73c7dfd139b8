"""How many texts a second the default representation embeds, end to end, against the least that it could do.

    python benchmarks/representation.py [POOL] [--rows 300000] [--repeats 5] [--workers 1,2] [--results FILE]

Without a POOL, short texts are generated. Two ways are timed in turn, each as a process of its own from its start to
its end, with one worker and with all:

* embed: `tasksift embed`, that is reading twice (once for the digest and the sample), fit, transform, write.
* words: reading once and finding the words by the regular expression that embed uses, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tasksift.engines import WORKERS, worker_count
from tasksift.engines.processes import in_processes, process_count
from tasksift.features import MOST_WORKERS
from tasksift.represent.words import TOKEN
from tasksift.rows import TextReader, expand, iter_texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", nargs="?", type=Path, help="a pool file; by default texts are generated")
    parser.add_argument("--rows", type=int, default=300_000, help="texts to generate")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", default=f"1,{worker_count()}", help="numbers of workers, separated by commas")
    parser.add_argument("--results", type=Path, help="JSON file to write all runs to")
    parser.add_argument("--words", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.words:
        find_words(options.pool)
        return
    counts = list(dict.fromkeys(int(count) for count in options.workers.split(",")))
    with tempfile.TemporaryDirectory(prefix="representation-") as folder:
        pool = options.pool or generate(Path(folder) / "pool.jsonl", options.rows)
        runs: list[dict[str, object]] = []
        for _ in range(options.repeats):
            for workers in counts:
                embed = ["-m", "tasksift", "embed", str(pool), "--out", f"{folder}/features", "--json", "--quiet"]
                rows = json.loads(timed(runs, "embed", workers, embed))["rows"]
                shutil.rmtree(f"{folder}/features")
                timed(runs, "words", workers, [__file__, str(pool), "--words"])
                if options.results is not None:
                    options.results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(f"{rows:,} texts, medians of {options.repeats}, seconds of whole processes\n")
    print("| workers | embed (s) | texts a second | words (s) | embed / words |\n| --- | --- | --- | --- | --- |")
    for workers in counts:
        embed, words = (
            statistics.median(run["seconds"] for run in runs if (run["way"], run["workers"]) == (way, workers))
            for way in ("embed", "words")
        )
        print(f"| {workers} | {embed:.1f} | {rows / embed:,.0f} | {words:.1f} | {embed / words:.1f} |")


def timed(runs: list[dict[str, object]], way: str, workers: int, command: list[str]) -> str:
    """Run Python with that many workers, keep the wall time, and return what it printed."""
    begun = time.perf_counter()
    environment = {**os.environ, WORKERS: str(workers)}
    out = subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.PIPE).stdout
    seconds = round(time.perf_counter() - begun, 3)
    runs.append({"way": way, "workers": workers, "seconds": seconds, "load": round(os.getloadavg()[0], 2)})
    print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    return out.decode()


def generate(path: Path, rows: int) -> Path:
    """Write texts of 10 to 60 words, in the frequencies of a natural language (Zipf's law), some 200 characters."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(50_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    stream = rng.choices(words, weights, k=35 * 20_000)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            at, length = rng.randrange(len(stream)), rng.randint(10, 60)
            file.write(json.dumps({"text": " ".join(stream[at : at + length])}) + "\n")
    return path


def find_words(pool: Path) -> None:
    """Read a pool and find its words, in as many processes as embed uses."""
    batches = iter_texts(expand(str(pool)), TextReader(), 1024)
    workers = process_count(MOST_WORKERS)
    counts = map(count_words, batches) if workers == 1 else in_processes(in_worker, int, batches, workers)
    print(sum(counts))


def count_words(texts: list[str]) -> int:
    find = re.compile(TOKEN).findall
    return sum(len(find(text.lower())) for text in texts)


def in_worker(state: int, texts: list[str]) -> int:
    return count_words(texts)


if __name__ == "__main__":
    main()
