"""What `tasksift presets` says of a method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from tasksift.costs import describe, estimate, typical
from tasksift.presets import get_preset
from tasksift.selectors import SELECTORS
from tasksift.selectors.contract import Size


def about(name: str, **size: Any) -> dict[str, Any]:
    """Return everything about a preset, as JSON; `size` are fields of `Size`, all costs for a million rows."""
    preset = get_preset(name)
    selector = SELECTORS[preset.selector]
    sized = replace(typical(preset), **size)
    parameters = {
        each: {"default": preset.parameters.get(each, own.default), "range": own.range(), "help": own.help}
        for each, own in selector.parameters.items()
    }
    return {
        **preset.to_dict(),
        "parameters": parameters,
        "kind": selector.kind,
        "ignores_copies": selector.ignores_copies,
        "estimates_size": selector.sizes_itself,
        "cost_of_a_million": {**asdict(estimate(preset, sized)), "for": asdict(sized)},
    }


def lines(name: str, *, parameters_too: bool, **size: Any) -> Iterator[str]:
    """Yield the lines that people read."""
    preset = get_preset(name)
    sized: Size = replace(typical(preset), **size)
    yield name
    yield f"  {preset.summary}"
    yield f"  needs: {preset.needs}"
    yield f"  cost:  {preset.cost}"
    yield f"         {describe(preset, sized)}"
    yield f"  paper: {preset.paper}"
    if not parameters_too:
        return
    selector = SELECTORS[preset.selector]
    if preset.representation is not None:
        options = "".join(f" --{each.replace('_', '-')} {value}" for each, value in preset.options.items())
        yield f"  representation: {preset.representation}{options}"
    if selector.sizes_itself:
        yield "  --budget auto: it can estimate how many rows to take"
    for each, parameter in selector.parameters.items():
        default = preset.parameters.get(each, parameter.default)
        shown = "" if default is None else f" [{str(default).lower() if isinstance(default, bool) else default}]"
        yield f"  --set {each}=...  {parameter.help}; {parameter.range()}{shown}"
