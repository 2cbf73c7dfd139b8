"""Configurations whose values are checked by name, saved as YAML and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tasksift.errors import InputError


class Checked(BaseModel):
    """A configuration; the docstring below a field is its help text."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)

    @classmethod
    def create(cls, **values: Any) -> Self:
        """Validate values given by name; the first fault is raised as an `InputError` of one line."""
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            faults = error.errors()
            fault = faults[0]
            name = str(fault["loc"][0]) if fault["loc"] else ""
            text = fault["msg"].removeprefix("Value error, ")
            shown = " ".join(repr(fault["input"]).split())
            shown = shown if len(shown) <= 80 else shown[:77] + "..."
            if fault["type"] == "extra_forbidden":
                text = f"{option_name(name)} {shown}: there is no such option; there are {', '.join(cls.model_fields)}"
            elif name and fault["type"] != "value_error":  # our own words say it all
                # A field of two types has a fault for each of them.
                ways = [each["msg"].split(", unable")[0] for each in faults if each["loc"][:1] == fault["loc"][:1]]
                text = " or ".join(way.removeprefix("Input should be ") for way in dict.fromkeys(ways))
                text = f"{option_name(name)} {shown}: it should be {text}"
            raise InputError(text) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration that `dump` wrote."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read the configuration {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: not UTF-8, so not a configuration; name a config.yaml of a run") from None
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
        if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
            raise InputError(f"{path}: a configuration is a mapping of option names to values")
        try:
            return cls.create(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def help_of(cls, field: str) -> str:
        """The help text of a field: its docstring, on one line."""
        return " ".join((cls.model_fields[field].description or "").split())

    def dump(self) -> str:
        """The configuration as YAML, with every default spelled out."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


def option_name(field: str) -> str:
    """The command line's name of a configuration field."""
    if field == "parameters":
        return "--set"
    return field.upper() if field == "pool" else "--" + field.replace("_", "-")
