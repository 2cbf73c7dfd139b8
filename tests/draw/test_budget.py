from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.draw import Budget, parse_limit
from tasksift.errors import InputError


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        (1000, 1000, "rows"),
        ("1000", 1000, "rows"),
        ("1_000", 1000, "rows"),
        (" 1,000,000 ", 1_000_000, "rows"),
        ("1e3", 1000, "rows"),
        ("1000.0", 1000, "rows"),
        ("1%", 1.0, "percent"),
        (".5 %", 0.5, "percent"),
        ("100%", 100.0, "percent"),
        ("250000tok", 250_000, "tokens"),
        ("2.5e5tok", 250_000, "tokens"),
        ("250,000 tok", 250_000, "tokens"),
    ],
)
def test_reads_rows_percent_and_tokens(text, amount, unit):
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)
    assert isinstance(budget.amount, float if unit == "percent" else int)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0", "not positive"),
        (0, "not positive"),
        (-5, "not positive"),
        ("-1%", "not positive"),
        ("0tok", "not positive"),
        ("1e-400%", "not positive"),
        ("100.1%", "more than the whole pool"),
        ("0.5", "fraction of a row"),
        ("1.5tok", "fraction of a token"),
        ("1e300", "too large"),
        ("nan", "not a number of"),
        ("inf", "not a number of"),
        ("inf%", "not a number of"),
        ("10k", "not a number of"),
        ("1,5%", "not a number of"),
        ("1,00", "not a number of"),
        ("1__0", "not a number of"),
        ("1 000", "not a number of"),
        ("٣", "not a number of"),
        ("", "not a number of"),
        ("%", "not a number of"),
        ("e5", "not a number of"),
        ("tok", "not a number of"),
        ("5 rows", "not a number of"),
        (True, "not a number of"),
        (None, "not a number of"),
    ],
)
def test_refuses_with_the_three_forms(text, problem):
    with pytest.raises(InputError, match=problem) as caught:
        Budget.parse(text)
    for form in ("rows (1000)", "(1%)", "(250000tok)"):
        assert form in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, 0])
def test_refuses_amounts_built_by_hand(amount):
    with pytest.raises(InputError):
        Budget(amount, "percent")


def test_refuses_an_unknown_unit():
    with pytest.raises(ValueError, match="rows, percent, tokens"):
        Budget(1, "bytes")


@given(
    st.one_of(
        st.builds(Budget, st.integers(1, 2**63 - 1), st.sampled_from(["rows", "tokens"])),
        st.builds(Budget, st.floats(0, 100, exclude_min=True), st.just("percent")),
    )
)
def test_text_round_trips(budget):
    assert Budget.parse(str(budget)) == budget


def test_text():
    assert [str(Budget.parse(t)) for t in ("1,000", "1%", "0.5%", "2.5e5tok")] == ["1000", "1%", "0.5%", "250000tok"]


@pytest.mark.parametrize(
    ("text", "pool", "rows"),
    [
        ("7", 7, 7),
        ("1%", 100, 1),
        ("1%", 149, 1),
        ("1%", 150, 2),
        ("0.5%", 100, 1),
        ("2.3%", 1500, 35),  # 34.5, which binary floats place below
        ("0.001%", 10, 1),
        ("100%", 3, 3),
    ],
)
def test_rows(text, pool, rows):
    assert Budget.parse(text).rows(pool) == rows


@given(st.integers(1, 10_000), st.integers(1, 10**7))
def test_percent_rounds_half_up_and_gives_a_row(hundredths, pool):
    exact = Fraction(hundredths, 10_000) * pool
    rows = Budget.parse(f"{hundredths / 100}%").rows(pool)
    assert rows == max(1, (exact + Fraction(1, 2)).__floor__())


@pytest.mark.parametrize(("text", "pool"), [("8", 7), ("1%", 0)])
def test_more_rows_than_the_pool(text, pool):
    with pytest.raises(InputError, match=f"the pool has {pool}"):
        Budget.parse(text).rows(pool)


def test_tokens_are_no_rows():
    with pytest.raises(ValueError, match="rows_for_tokens"):
        Budget.parse("5tok").rows(10)


def test_limits():
    assert parse_limit(None, 100, "--max-per-source") is None
    assert parse_limit("500", 100, "--max-per-source") == 500
    assert parse_limit(3, 100, "--min-per-source") == 3
    assert parse_limit("20%", 101, "--max-per-source") == 20
    assert parse_limit("20%", 101, "--min-per-source") == 21
    assert parse_limit("20%", 100, "--max-per-source") == parse_limit("20%", 100, "--min-per-source") == 20


@pytest.mark.parametrize("text", ["0", "-1", "ten", "120%", "0.5"])
def test_bad_limits(text):
    with pytest.raises(InputError, match=rf"^--min-per-source {text} is not a positive limit.*\(500\).*\(20%\)"):
        parse_limit(text, 100, "--min-per-source")


def test_limits_are_not_in_tokens():
    with pytest.raises(InputError, match="--max-per-source 5tok is in tokens"):
        parse_limit("5tok", 100, "--max-per-source")


def test_a_maximum_of_no_rows():
    with pytest.raises(InputError, match="1% of a budget of 50 rows is less than one row"):
        parse_limit("1%", 50, "--max-per-source")
    assert parse_limit("1%", 50, "--min-per-source") == 1
