"""What `tasksift presets` says, against the presets, the selectors and the pages of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tasksift.cli import app
from tasksift.costs import estimate, typical
from tasksift.methods import about, lines
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS

PAGES = Path(__file__).parents[1] / "docs" / "presets"

every_preset = pytest.mark.parametrize("name", PRESETS)


def presets(*args: str) -> Result:
    return CliRunner().invoke(app, ["presets", *args])


def page_of(name: str) -> str:
    """The pages that name a preset as code or as the value of an option."""
    named = re.compile(rf"(`|-p |--preset ){re.escape(name)}(?![\w-])")
    found = (path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md")) if path.stem != "README")
    return "\n".join(text for text in found if named.search(text) or f"# {name}\n" in text)


def test_the_list_has_a_paragraph_for_every_preset():
    done = presets()
    assert (done.exit_code, done.stderr) == (0, "")
    parts = done.stdout.strip().split("\n\n")
    assert [part.split("\n", 1)[0] for part in parts] == list(PRESETS)
    for part, preset in zip(parts, PRESETS.values(), strict=True):
        for fact in (preset.summary, preset.needs, preset.cost, preset.paper):
            assert fact in part
    assert "--set" not in done.stdout


@every_preset
def test_one_preset_with_its_parameters(name: str):
    preset, selector = PRESETS[name], SELECTORS[PRESETS[name].selector]
    done = presets(name)
    assert (done.exit_code, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[0] == name
    assert done.stdout == "\n".join(lines(name, parameters_too=True, tokens=300, targets=100)) + "\n\n"
    shown = {line.split("=", 1)[0].removeprefix("  --set "): line for line in said if line.startswith("  --set ")}
    assert list(shown) == list(selector.parameters)
    for each, parameter in selector.parameters.items():
        assert parameter.help in shown[each]
        assert parameter.range() in shown[each]
        default = preset.parameters.get(each, parameter.default)
        assert shown[each].endswith(f"[{json.dumps(default).strip(chr(34))}]") == (default is not None)
    for option, value in preset.options.items():
        assert f"--{option.replace('_', '-')} {value}" in done.stdout
    assert ("--budget auto" in done.stdout) == selector.sizes_itself
    assert ("  representation: " in done.stdout) == (preset.representation is not None)


@every_preset
def test_as_json(name: str):
    done = presets(name, "--json", "--tokens", "77", "--targets", "9", "--model-params", "5e8")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert list(found) == [name]
    facts, selector = found[name], SELECTORS[PRESETS[name].selector]
    assert facts == json.loads(json.dumps(about(name, tokens=77, targets=9, parameters=5e8, trained=5e6)))
    assert facts["paper"] == PRESETS[name].paper
    assert list(facts["parameters"]) == list(selector.parameters)
    # What is shown as a default is one: the selector takes it, and the preset's word counts.
    given = {each: value["default"] for each, value in facts["parameters"].items() if value["default"] is not None}
    settled = selector.settle(PRESETS[name].parameters, name)
    assert selector.settle(given, name) == settled
    assert (facts["kind"], facts["estimates_size"]) == (selector.kind, selector.sizes_itself)
    size = facts["cost_of_a_million"]["for"]
    assert (size["tokens"], size["targets"], size["parameters"], size["rows"]) == (77, 9, 5e8, 1_000_000)


def test_all_as_json():
    assert list(json.loads(presets("--json").stdout)) == list(PRESETS)


@pytest.mark.parametrize("name", ["less", "rds+", "perplexity-lowest", "tsds", "bm25"])
def test_costs_are_those_of_the_size_that_is_asked_for(name: str):
    small, large = (
        json.loads(presets(name, "--json", "--tokens", tokens).stdout)[name]["cost_of_a_million"]
        for tokens in ("100", "1000")
    )
    assert small["flops"] == estimate(name, typical(name).__class__(**small["for"])).flops
    assert large["flops"] > small["flops"] > 0
    assert large["bytes"] == small["bytes"]
    assert f"{large['flops']:.1e} FLOPs" in presets(name, "--tokens", "1000").stdout


def test_a_name_that_there_is_not():
    done = presets("lesss")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("tasksift: --preset lesss does not exist; use one of tsds, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [("--tokens", "0"), ("--targets", "-1"), ("--model-params", "0"), ("--tokens", "x")])
def test_sizes_that_there_are_not(more: tuple[str, str]):
    done = presets("tsds", *more)
    assert done.exit_code == 2
    assert more[0] in done.stderr
    assert done.stdout == ""


@every_preset
def test_every_preset_has_a_page(name: str):
    assert page_of(name), f"no page of docs/presets names `{name}`"


@every_preset
def test_every_parameter_is_on_a_page_of_its_preset(name: str):
    text = page_of(name)
    lacking = [each for each in SELECTORS[PRESETS[name].selector].parameters if f"`{each}" not in text]
    # Those with options of their own go by these.
    assert not [each for each in lacking if f"--{each}" not in text and f"--set {each}=" not in text]


@every_preset
def test_every_paper_is_cited_on_a_page_of_its_preset(name: str):
    for number in re.findall(r"arXiv (\d{4}\.\d{5})", PRESETS[name].paper):
        assert number in page_of(name)
