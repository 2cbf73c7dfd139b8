"""Made-up reports of the three kinds, and texts that try to break out of a page."""

from __future__ import annotations

from typing import Any

import numpy as np

SOURCES = ["flan_v2", "cot", "dolly", "oasst1", "a_source/with/a_rather_long_path/part-00017.parquet"]

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "quotes \" ' ` and ${alert(3)} and {{ 4 }} and \\u003c",
    "a bidi mark \u202eevil\u202c and an isolate \u2066x\u2069",
    "a NUL \x00, a bell \x07, a line separator \u2028, half a pair \ud800, a zero width \u200b",
    "javascript:alert(5) &lt;b&gt; &amp;",
]
"""Texts that must be shown and must not act."""


def selection(*, points: int = 700, seed: int = 0, text: str | None = None) -> dict[str, Any]:
    """Return a report of a selection; `text` stands everywhere where a row or a user speaks."""
    rng = np.random.default_rng(seed)
    say = (lambda plain: plain) if text is None else (lambda plain: text)
    pool, selected = [52_110, 40_202, 15_011, 8_400, 2_211], [402, 611, 120, 41, 9]
    kinds = rng.choice(3, points, p=[0.8, 0.05, 0.15])
    blobs = rng.normal(size=(6, 2)) * 2
    places = blobs[rng.integers(0, 6, points)] + rng.normal(size=(points, 2)) * 0.7
    places[kinds > 0] = blobs[0] + rng.normal(size=((kinds > 0).sum(), 2)) * 0.6
    edges = np.linspace(0, 1, 41)
    values = [1, 2, 4, 8, 16, 32, 64, 128]
    composition = [_shares(np.array(pool) ** (0.2 + i / 9) * np.array([1, 3, 1, 1, 0.4])) for i in range(len(values))]
    neighbour = {"text": say("Question: what is 17 times 23? Answer: 391."), "source": say("cot"), "distance": 0.431}
    worst = [
        {
            "target": i,
            "task": say("bbh"),
            "text": say(
                f"Q: On the table there are {i + 2} red pencils and a purple mug. What is left of the mug?\nA: (B)"
            ),
            "nearest_selected": 0.71 - i / 100,
            "nearest_pool": 0.71 - i / 100 if i % 2 else 0.52,
            "selected_near": i,
            "neighbours": [{**neighbour, "selected": j == 0, "distance": 0.7 + j / 50} for j in range(3)],
        }
        for i in range(14)
    ]
    return {
        "format": 1,
        "kind": "selection",
        "title": say("1,183 rows for reasoning in several steps"),
        "version": "0.1.0",
        "glance": {
            "rows": 1183,
            "distinct": 1171,
            "pool_rows": sum(pool),
            "share": 1183 / sum(pool),
            "tokens": 412_883,
            "targets": 81,
            "tasks": [say("bbh"), say("gsm")],
            "budget": "1%",
            "preset": "tsds",
            "about": say("Optimal transport from your examples into the pool, spread out."),
            "paper": say("Liu, Karbasi, Rekatsinas: TSDS, NeurIPS 2024"),
            "representation": say("TF-IDF of words"),
            "seed": 0,
            "sentence": say(
                "Out of 117,934 rows, 1,183 were taken that resemble your 81 examples. Half of them come from cot, "
                "which is a third of the pool."
            ),
        },
        "sources": [{"name": say(n), "pool": p, "selected": s} for n, p, s in zip(SOURCES, pool, selected, strict=True)]
        + [{"name": None, "pool": 900, "selected": 0}],
        "distances": {
            "what": "cosine distance to the nearest target",
            "edges": edges.tolist(),
            "pool": _histogram(rng.beta(12, 3, 4000), edges),
            "selected": _histogram(rng.beta(9, 6, 900), edges),
        },
        "copies": {
            "rows_sharing": 214,
            "mean_density": 3.4,
            "avoided": 512,
            "examples": [
                {"text": say("What is the capital of France? Paris."), "source": say("flan_v2"), "density": 31.2}
            ]
            + [
                {"text": say(f"Translate to German: good morning {i}."), "source": say("dolly"), "density": 9.0 - i}
                for i in range(7)
            ],
        },
        "lengths": {
            "edges": (2.0 ** np.arange(3, 13, 0.5)).tolist(),
            "pool": _histogram(rng.lognormal(5.2, 0.8, 3000), 2.0 ** np.arange(3, 13, 0.5)),
            "selected": _histogram(rng.lognormal(5.9, 0.6, 900), 2.0 ** np.arange(3, 13, 0.5)),
            "unit": "tokens (about four bytes each)",
        },
        "coverage": {
            "distance": {"edges": np.linspace(0.2, 0.8, 19).tolist(), "counts": (_poisson(rng, 18) + 0).tolist()},
            "worst": worst,
        },
        "map": {
            "x": places[:, 0].tolist(),
            "y": places[:, 1].tolist(),
            "kind": kinds.tolist(),
            "source": rng.integers(0, 5, points).tolist(),
            "sources": [say(name) for name in SOURCES],
            "text": [say(f"Row {i}: how many apples are left when three of nine are eaten?") for i in range(points)],
            "explained": 0.143,
            "note": say("Principal components of a sample of 1,500 rows."),
        },
        "samples": [
            {
                "rank": i + 1 if i < 20 else i * 20,
                "source": say(SOURCES[i % 4]),
                "task": say("bbh"),
                "text": say(
                    f"Q: A train leaves at {i} and travels for two hours. When does it arrive?\nA: Step by step."
                ),
                "reason": say("nearest to example 12 (distance 0.31), which pulled 4% of its mass here"),
                "weight": 1.0,
                "distance": 0.3 + i / 200,
                "tokens": 80 + i,
                "where": say(f"pool-{i % 3}.parquet:{1000 + i}"),
            }
            for i in range(36)
        ],
        "path": {
            "knob": "breadth",
            "values": values,
            "current": 3,
            "sources": [say(name) for name in SOURCES],
            "composition": composition,
            "effective_rows": [80, 150, 280, 530, 900, 1500, 2300, 3300],
            "coverage": [0.98, 0.96, 0.95, 0.93, 0.88, 0.8, 0.7, 0.62],
            "coverage_what": say("examples with a selected row within 0.6"),
            "distance": [0.31, 0.34, 0.37, 0.41, 0.45, 0.49, 0.53, 0.57],
            "distance_what": say("mean distance of the weight to the examples"),
        },
        "manifest": {
            "tasksift": "0.1.0",
            "seed": 2**63,
            "pool": {
                "rows": sum(pool),
                "files": [{"path": say("pool-0.parquet"), "bytes": 1_200_331, "digest": "9f" * 16}] * 3,
            },
            "note": say("nothing"),
            "empty": None,
        },
        "config": say("pool: [pool.parquet]\ntarget: [dev.jsonl]\nbudget: 1%\npreset: tsds\nseed: 0\n"),
    }


def bare() -> dict[str, Any]:
    """Return a report of a selection that has next to nothing."""
    empty = dict.fromkeys(selection()["glance"], None)
    parts = dict.fromkeys(("distances", "copies", "coverage", "map", "path"), None)
    lengths = {"edges": [0, 1], "pool": [1.0], "selected": [1.0], "unit": "tokens"}
    return {
        **parts,
        "format": 1,
        "kind": "selection",
        "title": "bare",
        "version": "0",
        "glance": empty,
        "sources": [],
        "lengths": lengths,
        "samples": [],
        "manifest": {},
        "config": "",
    }


def online(*, domains: int = 11, seed: int = 0, text: str | None = None) -> dict[str, Any]:
    """Return a report of online mixing; the last domain is never seen."""
    rng = np.random.default_rng(seed)
    say = (lambda plain: plain) if text is None else (lambda plain: text)
    steps = list(range(0, 600, 5))
    weights = (
        np.abs(rng.normal(size=domains) + np.linspace(0, 2, domains) * np.linspace(0, 1, len(steps))[:, None]) + 0.05
    )
    losses = (
        3
        + rng.normal(size=domains) * 0.3
        - np.linspace(0, 1.2, len(steps))[:, None]
        + rng.normal(size=(len(steps), domains)) * 0.05
    )
    seen = rng.random(losses.shape) < 0.8
    seen[:, -1] = False
    names = ["web", "code", "books", "wikipedia", "mathematics", "law"][:domains] + [
        f"domain {i}" for i in range(domains - 6)
    ]
    return {
        "format": 1,
        "kind": "online",
        "title": say("What was drawn in 600 steps"),
        "version": "0.1.0",
        "glance": {
            "sentence": say("Web and code began with most of the draws and ended with a third."),
            "mode": say("released"),
            "domains": domains,
            "steps": 600,
        },
        "domains": [
            {"name": say(name), "rows": int(rng.integers(100, 9000)), "drawn": int(rng.integers(10, 900))}
            for name in names
        ],
        "steps": steps,
        "probabilities": [_shares(row) for row in weights],
        "losses": [
            [float(v) if s else None for v, s in zip(row, there, strict=True)]
            for row, there in zip(losses, seen, strict=True)
        ],
        "manifest": {"mode": "released"},
    }


def _shares(values: Any) -> list[float]:
    return (np.asarray(values, dtype=float) / np.sum(values)).tolist()


def _histogram(values: Any, edges: Any) -> list[float]:
    return (np.histogram(values, edges)[0] / len(values)).tolist()


def _poisson(rng: np.random.Generator, bins: int) -> Any:
    return rng.poisson(18 * np.exp(-(((np.arange(bins) - 7) / 4) ** 2)))
