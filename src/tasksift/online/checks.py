"""Checks of numbers that a user gives, and numbers as JSON has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def whole(name: str, value: Any, least: int) -> None:
    """Raise an `InputError` unless `value` is a whole number and at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} {value!r} is out of range; it is a whole number from {least}")


def numbers(name: str, values: ArrayLike, count: int) -> Floats:
    """Return a copy as float64 (count,), or raise an `InputError` that names what was given."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} {values!r} is no list of numbers; give one for each domain") from None
    if array.shape != (count,):
        raise InputError(f"{name} has shape {array.shape}; give one number for each of {count} domains")
    return array


def every(name: str, values: Floats, fit: Flags, what: str) -> None:
    """Raise an `InputError` that names the first domain whose value does not fit, and says what it should be."""
    if not fit.all():
        domain = int(np.argmin(fit))
        raise InputError(f"{name} of domain {domain} is {values[domain]:g}; {what}")


def plain(values: Floats) -> list[float | None]:
    """Return numbers as JSON has them, null for those that are not finite."""
    objects = values.astype(object)
    objects[~np.isfinite(values)] = None
    return list(objects.tolist())
