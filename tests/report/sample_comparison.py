"""Made-up reports of comparisons, small ones and one with as many long names as real ones have."""

from __future__ import annotations

from typing import Any

import numpy as np

MORE_ARMS = [
    "nearest",
    "round-robin",
    "tsds-encoder",
    "knn-uniform:encoder",
    "tarot",
    "dsir",
    "maximal-domain-coverage",
    "dsdm:gradient_of_the_warmed_up_checkpoint_after_four_epochs",
]

MORE_TASKS = ["nl2bash", "commonsense_qa", "svamp", "medmcqa", "strategyqa", "arc_challenge", "professional_law_exams"]


def comparison(*, seed: int = 0, text: str | None = None, many: bool = False) -> dict[str, Any]:
    """Return a report of a comparison of eight arms on two tasks at three budgets by two metrics, or of `many`."""
    rng = np.random.default_rng(seed)
    say = (lambda plain: plain) if text is None else (lambda plain: text)
    arms = ["zero-shot", "random", "random-balanced", "full", "tsds", "bm25", "rds+", "less"]
    tasks, budgets = ["bbh", "gsm"], ["0.5%", "1%", "5%"]
    if many:
        arms, tasks = [*arms, *MORE_ARMS], [*tasks, *MORE_TASKS]
    tables, curves, frontier, losers, ties = [], [], [], [], []
    for metric, higher in (("loss", False), ("accuracy", True)):
        for task in [*tasks, None]:
            lines = {}
            for b, budget in enumerate(budgets):
                rows = [_result(rng, arm, b, metric, higher) for arm in arms]
                for row in rows:
                    row["arm"] = say(row["arm"]) if row["arm"] not in ("zero-shot", "random", "full") else row["arm"]
                    lines.setdefault(row["arm"], []).append(
                        {
                            "fraction": (0.005, 0.01, 0.05)[b],
                            "score": row["score"],
                            "low": row["score"] - 0.01,
                            "high": row["score"] + 0.01,
                        }
                    )
                    against = row["versus_random"]
                    if against and against["mean"] < 0 and task:
                        losers.append(
                            {"task": say(task), "budget": budget, "metric": metric, "arm": row["arm"], **against}
                        )
                tables.append(
                    {
                        "task": task and say(task),
                        "budget": budget,
                        "metric": metric,
                        "higher_is_better": higher,
                        "held_out_rows": 250,
                        "rows": rows,
                    }
                )
                if task:
                    ties.append(
                        {
                            "task": say(task),
                            "budget": budget,
                            "metric": metric,
                            "best": say("tsds"),
                            "arms": [say("rds+")],
                        }
                    )
            ends = {arm: lines.pop(arm)[0]["score"] for arm in ("zero-shot", "full")}
            curves.append(
                {
                    "task": task and say(task),
                    "metric": metric,
                    "zero": ends["zero-shot"],
                    "full": ends["full"],
                    "lines": [{"arm": arm, "points": points[:3]} for arm, points in lines.items()],
                }
            )
            points = [
                {
                    "arm": arm,
                    "budget": budget,
                    "flops": float(10 ** (12 + i % 4 + b)) * (1 + i / 5),
                    "score": line[b]["score"],
                    "front": i == 3,
                }
                for i, (arm, line) in enumerate(lines.items())
                for b, budget in enumerate(budgets)
            ]
            frontier.append({"task": task and say(task), "metric": metric, "points": points})
    return {
        "format": 1,
        "kind": "comparison",
        "title": say("Which selection is worth it"),
        "version": "0.1.0",
        "glance": {
            "sentence": say(
                "Eight ways to choose rows, each trained three times and scored on two tasks. Two beat a random draw."
            ),
            "tasks": [say(task) for task in tasks],
            "held_out_rows": {say(task): 250 for task in tasks},
            "targets": {say(task): 40 for task in tasks},
            "pool_rows": 117_934,
            "model": say("SmolLM2-135M"),
            "parameters": 134_515_008,
            "seeds": [0, 1, 2],
            "budgets": budgets,
            "arms": [say(arm) for arm in arms],
        },
        "summary": {
            "tables": tables,
            "curves": curves,
            "losers": losers,
            "ties": ties,
            "notes": [say("36 comparisons: chance alone would name about two.")],
        },
        "frontier": frontier,
        "advice": say("Take bm25 at 1%: it ties with the best and costs a hundredth of the computing."),
        "manifest": {"tasksift": "0.1.0"},
        "config": say("presets: [tsds, bm25]\n"),
    }


def _result(rng: np.random.Generator, arm: str, budget: int, metric: str, higher: bool) -> dict[str, Any]:
    untrained = -0.06 if higher else -5.0  # as far off as a model that was never trained really is
    skill = {"zero-shot": untrained, "full": 0.08, "tsds": 0.04, "rds+": 0.035, "bm25": 0.02, "less": -0.03}.get(
        arm, 0.0
    )
    gain = skill + 0.01 * budget * (arm not in ("zero-shot", "full"))
    seeds = [] if arm in ("zero-shot", "full") else (gain + rng.normal(size=3) * 0.008)
    sign, base = (1, 0.35) if higher else (-1, 1.9)
    scores = [base + sign * float(each) for each in seeds]
    mean = skill + float(rng.normal()) * 0.005
    against = {
        "mean": mean,
        "low": mean - 0.018,
        "high": mean + 0.018,
        "verdict": "better" if mean > 0.018 else "worse" if mean < -0.018 else "tie",
    }
    costs = {
        "feature_seconds": 30.0,
        "feature_flops": 1e13 if arm == "less" else 0.0,
        "select_seconds": 2.0,
        "select_flops": 0.0,
    }
    return {
        "arm": arm,
        "preset": None if arm in ("zero-shot", "full") else arm,
        "score": float(np.mean(scores)) if scores else base + sign * gain,
        "seeds": scores,
        "spread": 0.008,
        "versus_random": None if arm == "random" else against,
        "versus_best": None,
        "tied_with_best": arm in ("tsds", "rds+"),
        "card": {
            "pir_full": 0.93,
            "pir_random": 1.04,
            "sdf": (0.005, 0.01, 0.05)[budget],
            "str": 0.12,
            "flops_share": 0.3,
            "residual": 0.021,
            "flags": {"model_free": arm != "less", "dataset_free": False, "gpt_free": True},
        },
        "costs": {
            **costs,
            "train_seconds": 400.0 * (budget + 1),
            "train_flops": 3e14 * (budget + 1),
            "evaluate_seconds": 20.0,
            "reusable": 1.0,
        },
    }
