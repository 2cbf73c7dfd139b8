"""What the Ray engine costs against the local one, on the same cores.

    python benchmarks/engine.py --arrays DIR --text pool.parquet --target dev.jsonl --results engine.json

A cluster with as many cores as the local engine uses is started first, as it would be on machines of one's own, and
every job is run in turn on either engine, each time in a process of its own: start of Python, connecting, reading,
computing and writing are all counted. Jobs are `select` from 1,000,000 × 384 vectors with targets all over the pool,
`embed` and `select` on the texts with the default representation, and `embed` by a sentence encoder where one is named.
The outputs of both engines are compared byte by byte. `--repeats` says how often; medians are compared.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from arrays import Arrays
from command import earlier, keep, markdown

PORT = 6389


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="vectors,embed,select,encoder")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--arrays", type=Path, required=True, help="folder in which vectors are made, and found again")
    parser.add_argument("--text", type=Path, help="pool of texts")
    parser.add_argument("--target", type=Path, help="target rows of the texts")
    parser.add_argument("--encoder", help="sentence encoder, a folder or a name on the hub")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a text that the encoder reads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, help="JSON file of all runs; those in it are not made again")
    args = parser.parse_args()
    args.arrays.mkdir(parents=True, exist_ok=True)
    results = earlier(args.results)
    cores = len(os.sched_getaffinity(0))
    ray = Path(sys.executable).with_name("ray")
    start = [
        "start",
        "--head",
        "--block",
        "--port",
        str(PORT),
        "--num-cpus",
        str(cores),
        "--include-dashboard",
        "false",
    ]
    nothing = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cluster = subprocess.Popen([ray, *start, "--object-store-memory", str(2**31)], **nothing)
    try:
        _wait(cluster)
        for repeat in range(args.repeats):
            for job in args.jobs.split(","):
                if job == "encoder" and not args.encoder:
                    continue
                facts = {"job": job, "repeat": repeat}
                if not any(facts.items() <= each.items() for each in results):
                    results.append({**facts, **_measure(args, job)})
                    keep(args.results, results)
    finally:
        cluster.terminate()
        cluster.wait()
    print(_report(results))


def _wait(cluster: subprocess.Popen[bytes]) -> None:
    """Wait until the cluster answers, and its first workers stand by."""
    for _ in range(300):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", PORT), 1).close()
            break
        time.sleep(0.2)
    time.sleep(10)
    if cluster.poll() is not None:
        sys.exit(f"no cluster could be started on port {PORT}; is there another one?")


def _measure(args: argparse.Namespace, job: str) -> dict[str, Any]:
    """Run one job on both engines."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=args.arrays) as folder:
        engines = {"local": [], "ray": ["--engine", "ray", "--ray-address", f"127.0.0.1:{PORT}"]}
        for engine, options in engines.items():
            command = [sys.executable, "-m", "tasksift", *_command(args, job, f"{folder}/{engine}"), *options]
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr}")
            found[engine] = round(time.perf_counter() - begun, 2)
        found["same"] = _bytes(Path(folder), "local") == _bytes(Path(folder), "ray")
    return found


def _command(args: argparse.Namespace, job: str, out: str) -> list[str]:
    if job == "vectors":
        made = argparse.Namespace(
            rows=args.rows, dim=args.dim, targets=args.targets, kind="spread", dtype="float32", seed=0,
            arrays=args.arrays, clusters=2000, vectors=None, target_vectors=None,
        )  # fmt: skip
        arrays = Arrays(made).make()
        given = ["--vectors", str(arrays.pool), "--target-vectors", str(arrays.target)]
        return ["select", *given, "--budget", "10000", "--out", f"{out}.parquet"]
    text = str(args.text)
    if job == "select":
        return ["select", text, "--target", str(args.target), "--budget", "1%", "--out", f"{out}.parquet"]
    more = ["--representation", "encoder", "--model", args.encoder, "--max-length", str(args.max_length)]
    return ["embed", text, "--out", out, *(more if job == "encoder" else [])]


def _bytes(folder: Path, engine: str) -> list[bytes]:
    """The vectors, or the training file and its record."""
    shards = sorted((folder / engine).glob("shard-*.npy"))
    out = folder / f"{engine}.parquet"
    return [path.read_bytes() for path in shards or [out, out.with_name(out.name + ".run") / "selection.parquet"]]


def _report(results: list[dict[str, Any]]) -> str:
    table = []
    for job in dict.fromkeys(each["job"] for each in results):
        runs = [each for each in results if each["job"] == job]
        local, ray = (statistics.median(each[engine] for each in runs) for engine in ("local", "ray"))
        same = "yes" if all(each["same"] for each in runs) else "NO"
        table.append([job, str(len(runs)), f"{local:.2f}", f"{ray:.2f}", f"{ray / local:.2f}", same])
    return markdown(["job", "runs", "local, seconds", "ray, seconds", "ratio", "same bytes"], table)


if __name__ == "__main__":
    main()
