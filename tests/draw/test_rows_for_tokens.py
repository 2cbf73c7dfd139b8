from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.draw import draw, rows_for_tokens
from tasksift.errors import InputError, ShortPlanError
from tasksift.plan import Plan


def plan_of(values, kind="mass", **more):
    values = np.asarray(values, dtype=float)
    return Plan(kind, "tsds", np.arange(len(values)), values / values.sum() if kind == "mass" else values, **more)


@st.composite
def problems(draw_):
    n = draw_(st.integers(2, 40))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32)))
    values = rng.uniform(0.5, 1, n)
    tokens = rng.integers(0, 50, n)
    tokens[rng.integers(n)] = draw_(st.sampled_from([10, 500]))
    return values, tokens, rng.permutation(n), rng.integers(0, 2, n)


@given(problems(), st.sampled_from(["systematic", "multinomial", "top"]), st.booleans(), st.data())
@settings(max_examples=150)
def test_the_budget_holds_and_one_row_more_breaks_it(problem, method, limited, data):
    values, tokens, order, sources = problem
    plan = plan_of(values)
    budget = data.draw(st.integers(1, int(tokens.sum())))
    options = {"seed": data.draw(st.integers(0, 9)), "order": order, "method": method}
    if limited:
        options |= {"sources": sources, "source_names": ["a", "b"], "maximum": data.draw(st.integers(1, 40))}

    def total(k):
        """Tokens of the draw of k rows, or why there is none."""
        try:
            drawn = draw(plan, k, **options)
        except InputError as error:
            return str(error)
        return int((tokens[drawn.ids] * drawn.copies).sum())

    try:
        drawn = rows_for_tokens(plan, tokens, budget, **options)
    except InputError as error:
        message = str(error)
    else:
        k = int(drawn.copies.sum())
        if method == "systematic" and not limited:
            # Less than one row's tokens are left over.
            spent = int((tokens[drawn.ids] * drawn.copies).sum())
            assert budget - tokens.max() < spent <= budget
            assert len(set(drawn.ids)) == k
            return
        assert np.array_equal(drawn.ids, draw(plan, k, **options).ids)
        assert total(k) <= budget
        more = total(k + 1)
        assert total(k) == budget if isinstance(more, str) else more > budget
        return
    if "the smallest draw" in message:
        assert total(1) > budget
    else:
        most = next(k for k in range(10**6) if isinstance(total(k + 1), str))
        assert total(most + 1) == message
        assert total(most) < budget


@given(problems(), st.data())
def test_top_takes_the_largest_k(problem, data):
    values, tokens, order, _ = problem
    tokens = tokens + 1
    plan = plan_of(values, "score")
    ranked = np.lexsort((order, -values))
    sums = np.cumsum(tokens[ranked])
    budget = data.draw(st.integers(int(sums[0]), int(sums[-1])))
    drawn = rows_for_tokens(plan, tokens, budget, seed=0, order=order)
    assert drawn.ids.tolist() == ranked[: np.searchsorted(sums, budget, side="right")].tolist()


def test_one_long_row_does_not_spoil_the_search():
    """With these seeds the draw of one row takes the long one, but the budget buys many of the others."""
    tokens = np.array([900] + [1] * 99)
    for seed in range(200):
        options = {"seed": seed, "order": np.arange(100)}
        first = draw(plan_of(np.ones(100)), 1, **options)
        drawn = rows_for_tokens(plan_of(np.ones(100)), tokens, 500, **options)
        if first.ids[0] == 0:
            assert drawn.distinct > 1
            return
    pytest.fail("no seed draws the long row first")


def test_a_row_larger_than_the_budget():
    with pytest.raises(
        InputError, match=r"budget is 5 tokens and the smallest draw \(1 row\) holds 9; raise the budget"
    ):
        rows_for_tokens(plan_of([1, 1]), np.array([9, 9]), 5, seed=0, order=np.arange(2))
    with pytest.raises(InputError, match=r"the smallest draw \(2 rows\) holds 18"):
        rows_for_tokens(
            plan_of([1, 1]), np.array([9, 9]), 10, seed=0, order=np.arange(2), sources=np.arange(2), minimum=1
        )


def test_tokens_left_over():
    tokens, order = np.full(4, 10), np.arange(4)
    assert rows_for_tokens(plan_of(np.ones(4)), tokens, 40, seed=0, order=order).distinct == 4
    with pytest.raises(InputError, match="a budget of 5 is too large for --draw systematic"):
        rows_for_tokens(plan_of(np.ones(4)), tokens, 41, seed=0, order=order)
    with pytest.raises(InputError, match="at most 1 of its 4 rows"):
        rows_for_tokens(plan_of([7, 1, 1, 1]), tokens, 20, seed=0, order=order)
    with pytest.raises(ShortPlanError, match="the budget is 5"):
        rows_for_tokens(plan_of(np.ones(4), "score", complete=False), tokens, 41, seed=0, order=order)
    assert (
        rows_for_tokens(plan_of(np.ones(4)), tokens, 1009, seed=0, order=order, method="multinomial").copies.sum()
        == 100
    )


def test_no_tokens_at_all():
    with pytest.raises(InputError, match="hold no tokens"):
        rows_for_tokens(plan_of([1, 1]), np.zeros(2, dtype=int), 5, seed=0, order=np.arange(2), method="multinomial")


def test_infeasible_limits_come_first():
    with pytest.raises(InputError, match="b has none"):
        rows_for_tokens(
            plan_of([1, 1]),
            np.ones(2, dtype=int),
            5,
            seed=0,
            order=np.arange(2),
            sources=np.zeros(2, dtype=int),
            source_names=["a", "b"],
            minimum=1,
        )


def test_token_counts_for_every_row():
    with pytest.raises(ValueError, match="1 token counts and 2 pool rows"):
        rows_for_tokens(plan_of([1, 1]), np.ones(1, dtype=int), 5, seed=0, order=np.arange(2))
