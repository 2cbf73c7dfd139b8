"""Configurations checked by name: one line for the first fault, and YAML that reads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, field_validator

from tasksift.checked import Checked, option_name
from tasksift.errors import InputError


class Toy(Checked):
    """A toy."""

    how_many: int = Field(default=3, ge=1)
    """How many
    there are."""
    way: Literal["up", "down"] = "up"
    either: int | float | None = None
    names: list[str] = Field(default_factory=list)

    @field_validator("names")
    @classmethod
    def _short(cls, value: list[str]) -> list[str]:
        if any(len(name) > 5 for name in value):
            raise ValueError("--names: at most five letters each")
        return value


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"how_many": 0}, "--how-many 0: it should be greater than or equal to 1"),
        ({"how_many": "x"}, "--how-many 'x': it should be a valid integer"),
        ({"way": "left"}, "--way 'left': it should be 'up' or 'down'"),
        ({"either": "x"}, "--either 'x': it should be a valid integer or a valid number"),
        ({"names": ["toolong"]}, "--names: at most five letters each"),
        ({"frob": 3}, "--frob 3: there is no such option; there are how_many, way, either, names"),
    ],
    ids=str,
)
def test_the_first_fault_is_one_line(values: dict[str, Any], text: str):
    with pytest.raises(InputError) as raised:
        Toy.create(**values)
    assert str(raised.value) == text


def test_long_values_are_cut():
    with pytest.raises(InputError) as raised:
        Toy.create(how_many="y\n" * 5000)
    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


def test_none_is_not_given():
    assert Toy.create(how_many=None) == Toy()
    with pytest.raises(ValueError, match="how_many"):
        Toy().how_many = 0


def test_saved_and_read_again(tmp_path: Path):
    toy = Toy.create(how_many=5, names=["é", "1", "no"])
    (tmp_path / "toy.yaml").write_text(toy.dump(), encoding="utf-8")
    assert Toy.load(tmp_path / "toy.yaml") == toy
    assert Toy().dump().splitlines()[0] == "how_many: 3"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"a: [", "not valid YAML"),
        (b"- 1\n", "a configuration is a mapping"),
        (b"1: 2\n", "a configuration is a mapping"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"frob: 3\n", "--frob 3: there is no such option"),
        (None, "cannot read the configuration"),
    ],
    ids=str,
)
def test_damaged_files(data: bytes | None, words: str, tmp_path: Path):
    if data is not None:
        (tmp_path / "toy.yaml").write_bytes(data)
    with pytest.raises(InputError) as raised:
        Toy.load(tmp_path / "toy.yaml")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names():
    assert Toy.help_of("how_many") == "How many there are."
    assert Toy.help_of("way") == ""
    assert [option_name(field) for field in ("max_length", "pool", "parameters")] == ["--max-length", "POOL", "--set"]
