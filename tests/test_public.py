"""The public surface: names, start-up, configuration."""

import subprocess
import sys

import pytest

import tasksift
from tasksift.config import RunConfig
from tasksift.errors import InputError
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS


def test_the_public_names():
    expected = ["PRESETS", "Comparison", "Embedding", "InputError", "Plan", "Selection", "__version__"]
    expected += ["compare", "embed", "open_run", "select"]
    assert tasksift.__all__ == expected
    assert all(getattr(tasksift, name) is not None for name in tasksift.__all__)
    assert dir(tasksift) == sorted(tasksift.__all__)
    with pytest.raises(AttributeError, match="no attribute 'selct'"):
        _ = tasksift.selct


@pytest.mark.parametrize("statement", ["import tasksift", "import tasksift.cli"])
def test_the_start_loads_nothing_heavy(statement):
    heavy = "numpy scipy sklearn pyarrow pandas torch"
    code = f"import sys; {statement}; print([m for m in {heavy.split()} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_configuration_replays(tmp_path):
    config = RunConfig.create(pool="a.jsonl", target=["b.jsonl"], budget=100, breadth="12.5", sigma="auto")
    path = tmp_path / "config.yaml"
    path.write_text(config.dump())
    assert RunConfig.load(path) == config
    assert (config.budget, config.breadth, config.sigma) == ("100", 12.5, "auto")
    # Every default is spelled out, so that a later default does not change an old run.
    assert set(RunConfig.model_fields) == set(RunConfig.load(path).model_dump())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 0.5, "breadth": 3}, "--alpha and --breadth are two names of one knob"),
        ({"alpha": 2}, "--alpha 2: it should be less than or equal to 1"),
        ({"breadth": "wide"}, "--breadth 'wide'"),
        ({"sigma": float("nan")}, "--sigma nan is out of range"),
        ({"draw": "lots"}, "--draw 'lots'"),
        ({"colour": "red"}, "--colour 'red'"),
    ],
)
def test_a_faulty_configuration_is_named(values, message):
    with pytest.raises(InputError, match=message):
        RunConfig.create(**values)


def test_every_preset_names_a_selector_and_its_parameters():
    for preset in PRESETS.values():
        assert set(preset.parameters) <= set(SELECTORS[preset.selector].parameters)
        assert all((preset.summary, preset.needs, preset.cost, preset.paper))
        assert (preset.representation is None) == (not SELECTORS[preset.selector].needs_features)


def test_every_field_of_the_configuration_has_help():
    assert all(field.description for field in RunConfig.model_fields.values())
