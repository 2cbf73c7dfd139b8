"""Budgets and limits as people write them: rows, percent, tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Literal, get_args

from tasksift.errors import InputError

Unit = Literal["rows", "percent", "tokens"]

_SUFFIX: dict[Unit, str] = {"rows": "", "percent": "%", "tokens": "tok"}
_FORMS = "write rows (1000), a share of the pool (1%) or tokens (250000tok)"
# A comma only separates thousands, so that 1,5% is refused and not read as 15 %.
_TEXT = re.compile(
    r"(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)?(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(?P<suffix>%|tok)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Budget:
    """How much to select.

    Attributes
    ----------
    amount : int or float
        A positive whole number of rows or tokens, or a percentage in (0, 100].
    unit : str
        ``rows``, ``percent`` (of the pool's rows) or ``tokens``.
    """

    amount: float | int
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit {self.unit!r} does not exist; it is one of {', '.join(get_args(Unit))}")
        problem = None
        if not 0 < self.amount < 2**63:  # False for NaN as well
            problem = "is too large" if self.amount > 0 else "is not positive"
        elif self.unit == "percent":
            problem = "is more than the whole pool" if self.amount > 100 else None
        elif self.amount != int(self.amount):
            problem = f"is a fraction of a {self.unit.removesuffix('s')}"
        if problem:
            raise InputError(f"the budget {self} {problem}; {_FORMS}")
        number = float(self.amount) if self.unit == "percent" else int(self.amount)
        object.__setattr__(self, "amount", number)

    @classmethod
    def parse(cls, text: str | int) -> Budget:
        """Read ``1000``, ``1_000``, ``1,000`` (rows), ``0.5%`` (of the pool's rows) or ``2.5e5tok`` (tokens).

        Raises
        ------
        InputError
            If the text is none of these, or the amount is not positive, above 100 %, or a fraction of a row or token.
        """
        match = _TEXT.fullmatch(str(text).strip())
        number = match["number"].replace(",", "").replace("_", "") if match else ""
        if match is None or not re.match(r"[+-]?\.?\d", number):
            raise InputError(f"the budget {str(text)!r} is not a number of rows, percent or tokens; {_FORMS}")
        unit = next(unit for unit, suffix in _SUFFIX.items() if suffix == (match["suffix"] or ""))
        exact = Decimal(number)
        whole = unit != "percent" and exact < 2**63 and exact == exact.to_integral_value()
        return cls(int(exact) if whole else float(exact), unit)

    def rows(self, n_pool: int) -> int:
        """Return the number of rows that the budget stands for in a pool of `n_pool` rows.

        A percentage is rounded half up and gives at least one row.

        Raises
        ------
        InputError
            If that is more than the pool has.
        """
        if self.unit == "tokens":
            raise ValueError("a budget in tokens stands for no fixed number of rows; use rows_for_tokens")
        rows = int(self.amount) if self.unit == "rows" else max(1, self._share(n_pool, ROUND_HALF_UP))
        if rows > n_pool:
            raise InputError(
                f"the budget is {rows} rows and the pool has {n_pool}; lower the budget or add to the pool"
            )
        return rows

    def _share(self, whole: int, rounding: str) -> int:
        # In decimal, because 2.3 % of 1500 is 34.5, which binary floats place just below.
        return int((Decimal(repr(self.amount)) * whole / 100).to_integral_value(rounding))

    def __str__(self) -> str:
        return f"{self.amount!r}".removesuffix(".0") + _SUFFIX[self.unit]


def parse_limit(
    text: str | int | None, budget_rows: int, name: Literal["--min-per-source", "--max-per-source"]
) -> int | None:
    """Read a limit per source: rows (``500``) or a share of the budget (``20%``).

    Parameters
    ----------
    text : str, int or None
        The limit as written; None for no limit.
    budget_rows : int
        The budget in rows, the whole of a percentage.
    name : str
        The option. A minimum in percent is rounded up and a maximum down, so that both are kept.

    Raises
    ------
    InputError
        If the text is no limit, or a maximum comes to less than one row.
    """
    if text is None:
        return None
    forms = "write rows (500) or a share of the budget (20%), or leave it out for no limit"
    try:
        limit = Budget.parse(text)
    except InputError:
        raise InputError(f"{name} {text} is not a positive limit; {forms}") from None
    if limit.unit == "tokens":
        raise InputError(f"{name} {text} is in tokens; {forms}")
    if limit.unit == "rows":
        return int(limit.amount)
    rows = limit._share(budget_rows, ROUND_FLOOR if name == "--max-per-source" else ROUND_CEILING)
    if rows < 1:
        raise InputError(f"{name} {text} of a budget of {budget_rows} rows is less than one row; raise it")
    return rows
