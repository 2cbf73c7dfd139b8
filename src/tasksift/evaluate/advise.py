"""From a request to the whole answer of `tasksift plan`: published or own curves, outlooks, notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasksift.costs import ENCODER_PARAMETERS
from tasksift.errors import InputError
from tasksift.evaluate.cost_models import training
from tasksift.evaluate.names import FULL, HIGHER_IS_BETTER
from tasksift.evaluate.outlook import Case, across, outlook
from tasksift.evaluate.plan_cells import case_of, common_metric, read_table, tasks
from tasksift.evaluate.plan_words import at_budget
from tasksift.evaluate.priors import ALL, LESS_COSTS, Sizes, each_panel, prior
from tasksift.evaluate.published import REUSABLE

HOUR = 3600.0

FORMAT = 1


@dataclass(frozen=True)
class Request:
    """What `tasksift plan` is asked; fields are its options."""

    model_params: float | None = None
    pool_rows: float | None = None
    pool_tokens: float | None = None
    target_tokens: float | None = None
    flops: float | None = None
    gpu_hours: float | None = None
    flops_per_second: float | None = None
    targets: float = 1.0
    epochs: float = 1.0
    selector_params: float | None = None
    encoder_params: float = ENCODER_PARAMETERS
    less_cost: str = "counted"
    reusable: Mapping[str, float] = field(default_factory=dict)
    cells: Path | None = None
    panel: str | None = None
    metric: str | None = None
    zero_score: float | None = None
    full_score: float | None = None

    def budget(self) -> float:
        """Return the operations to spend."""
        if self.flops is not None and (self.gpu_hours is not None or self.flops_per_second is not None):
            raise InputError("give --flops, or --gpu-hours with --flops-per-second, not both")
        if self.flops is not None:
            return self.flops
        if self.gpu_hours is None:
            raise InputError("there is no budget: give --flops, or --gpu-hours with --flops-per-second")
        if self.flops_per_second is None:
            raise InputError("--gpu-hours needs --flops-per-second: what the device achieves, such as 1e14")
        return self.gpu_hours * HOUR * self.flops_per_second


def advise(request: Request) -> dict[str, Any]:
    """Return the plan as JSON: an `outlook` with ``advice`` for every task or panel, and ``notes``.

    Raises
    ------
    InputError
        If something is missing, out of range, or does not go together.
    """
    budget = request.budget()
    if request.targets < 1:
        raise InputError(f"--targets {request.targets:g}: it should be at least 1")
    if request.cells is not None:
        cases, source, notes = _own_cases(request)
        apart: list[dict[str, Any]] = []
    else:
        sizes, reusable = _sizes(request), _reusable(request)
        if (request.zero_score is None) != (request.full_score is None):
            raise InputError("--zero-score and --full-score come together")
        ends = None
        if request.zero_score is not None and request.full_score is not None:
            ends = request.zero_score, request.full_score
        panel = ALL if request.panel is None else request.panel
        cases, source = [prior(panel, sizes, reusable=reusable, scores=ends)], f"published, panel {panel}"
        each = each_panel(sizes, reusable)
        apart = across(each, budget, request.targets)
        notes = list(_weaknesses(each, budget, request.targets))
    return {
        "format": FORMAT,
        "source": source,
        "budget": budget,
        "targets": request.targets,
        "cases": [
            {
                **outlook(case, budget, targets=request.targets),
                "advice": at_budget(case, case.plan(budget, request.targets)),
            }
            for case in cases
        ],
        "across_panels": apart,
        "notes": notes,
    }


def _own_cases(request: Request) -> tuple[list[Case], str, list[str]]:
    assert request.cells is not None
    for name in ("panel", "zero_score", "full_score", "selector_params", "target_tokens", "pool_rows"):
        if getattr(request, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is of published curves; --cells brings its own, leave it out")
    if request.reusable:
        raise InputError("--reusable is of published curves; the cells say what is reusable")
    for name in ("encoder_params", "less_cost"):
        if getattr(request, name) != getattr(Request, name):
            raise InputError(f"--{name.replace('_', '-')} is of published curves; the cells say what a selection takes")
    found = read_table(request.cells)
    metric = common_metric(found) if request.metric is None else request.metric
    if metric is None:
        raise InputError(f"no metric is in all cells of {request.cells}; name one with --metric")
    if metric not in HIGHER_IS_BETTER:
        raise InputError(f"--metric {metric} is not one of {', '.join(HIGHER_IS_BETTER)}")
    there = [task for task in tasks(found) if any(metric in cell.scores for cell in found if cell.task == task)]
    if not there:
        raise InputError(f"--metric {metric}: no cell of {request.cells} has it")
    tokens = max([cell.tokens for cell in found if cell.arm == FULL], default=0)
    pool = 1.0 if request.pool_tokens is None else request.pool_tokens / max(1, tokens)
    full = None
    if request.model_params is not None:
        full = training(request.model_params, request.pool_tokens or tokens, request.epochs)
    elif request.epochs != 1:
        raise InputError("--epochs needs --model-params: the comparison trained as its cells say")
    cases = [case_of(found, task, metric, full_training=full, pool=pool) for task in there]
    notes = ["Curves are those of the comparison; shares are of the operations of its training on everything."]
    if full is not None or request.pool_tokens is not None:
        notes.append(
            "The model or the pool is another than the comparison's: its curves are assumed to hold for the same "
            "shares, which nothing here has measured."
        )
    if request.metric is None and sum(all(name in cell.scores for cell in found) for name in HIGHER_IS_BETTER) > 1:
        notes.append(f"Planned by {metric}; --metric names another.")
    if all(each.curve.basis != "seeds" for case in cases for each in case.methods):
        notes.append("Every cell has one seed only: intervals come from residuals of a fit, where there are any.")
    return cases, f"cells of {request.cells}", notes


def _sizes(request: Request) -> Sizes:
    for name in ("model_params", "pool_rows", "pool_tokens"):
        if getattr(request, name) is None:
            raise InputError(f"there is no --{name.replace('_', '-')}: published curves need it, or give --cells")
    if request.metric is not None:
        raise InputError("--metric goes with --cells; published curves are in their own metric")
    if request.less_cost not in LESS_COSTS:
        raise InputError(f"--less-cost {request.less_cost} is not one of {', '.join(LESS_COSTS)}")
    assert request.model_params is not None
    assert request.pool_rows is not None
    assert request.pool_tokens is not None
    if request.pool_tokens < request.pool_rows:
        raise InputError(
            f"--pool-tokens {request.pool_tokens:g} is less than --pool-rows {request.pool_rows:g}: a row has at least "
            "one token; are the two swapped?"
        )
    return Sizes(
        request.model_params, request.selector_params or request.model_params, request.pool_rows, request.pool_tokens,
        request.epochs, request.encoder_params, request.target_tokens, request.less_cost,
    )  # fmt: skip


def _reusable(request: Request) -> dict[str, float]:
    named = {name.lower(): name for name in REUSABLE}
    for name, part in request.reusable.items():
        if name.lower() not in named:
            raise InputError(f"--reusable {name}: there is no such method; there are {', '.join(named)}")
        if not 0 <= part <= 1:
            raise InputError(f"--reusable {name}={part:g}: it should be between 0 and 1")
    return {named[name.lower()]: part for name, part in request.reusable.items()}


def _weaknesses(cases: list[Case], budget: float, targets: float) -> Iterator[str]:
    yield (
        "Curves are published ones (Yin, Rush, ICLR 2025), read off figures: single runs of Llama-2 with LoRA, methods "
        "0.1 to 0.5 points apart. They are a prior, not a measurement of your task: tasksift compare measures yours."
    )
    wins = Counter(made.best.method for case in cases if (made := case.plan(budget, targets)).best is not None)
    if wins:
        counted = ", ".join(f"{name} {count}" for name, count in wins.most_common())
        yield f"At this budget the best of the {len(cases)} panels, each by itself: {counted}."
    yield "As presets: Embed is nearest-mean with an encoder, PPL one of perplexity-*; the others have their own names."
    yield "Break-evens differ by more than a factor of 10 between panels; the range over panels says more than any one."
