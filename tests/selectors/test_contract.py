"""What selectors are told and what they take."""

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.selectors import Context, Parameter, Selector, Size
from tasksift.selectors.contract import one_pass
from tasksift.vectors import Vectors

PARAMETERS = {
    "flag": Parameter(False, "a truth"),
    "count": Parameter(5, "a count", low=1, high=9),
    "rate": Parameter(0.5, "a rate", ("auto",), low=0),
    "rule": Parameter("next", "a word", ("next", "skip")),
    "name": Parameter("loss", "any text", kind=str),
    "size": Parameter("auto", "a count or a word", ("auto",), kind=int, low=2),
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", "true", True), ("flag", "False", False), ("flag", True, True),
        ("count", "3", 3), ("count", 9, 9), ("count", "4.0", 4), ("count", np.int64(2), 2),
        ("rate", "1e-3", 1e-3), ("rate", 0, 0.0), ("rate", "auto", "auto"), ("rate", "3", 3.0),
        ("rule", "skip", "skip"), ("name", "my column", "my column"), ("name", 3, "3"),
        ("size", "auto", "auto"), ("size", "7", 7),
    ],
)  # fmt: skip
def test_values_that_are_read(name, value, expected):
    found = PARAMETERS[name].read(name, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "range_"),
    [
        ("flag", "yes", "true or false"), ("flag", "1", "true or false"),
        ("count", "0", "a whole number from 1 to 9"), ("count", "10", "a whole number from 1 to 9"),
        ("count", "2.5", "a whole number from 1 to 9"), ("count", "", "a whole number from 1 to 9"),
        ("count", None, "a whole number from 1 to 9"), ("count", True, "a whole number from 1 to 9"),
        ("rate", "-1", "a number from 0 or auto"), ("rate", "nan", "a number from 0 or auto"),
        ("rate", "inf", "a number from 0 or auto"), ("rate", "Auto", "a number from 0 or auto"),
        ("rate", [1], "a number from 0 or auto"), ("rule", "last", "next, skip"),
        ("size", "1", "a whole number from 2 or auto"),
    ],
)  # fmt: skip
def test_values_that_are_refused(name, value, range_):
    assert PARAMETERS[name].range() == range_
    with pytest.raises(InputError) as raised:
        PARAMETERS[name].read(name, value)
    assert str(raised.value) == f"--set {name}={value}: it should be {range_}"


def test_text_may_be_anything():
    assert PARAMETERS["name"].range() == "text"


def selector(parameters, **options):
    empty = Plan("score", "test", np.arange(0), np.zeros(0))
    return Selector(lambda context, settled: lambda budget: empty, "score", parameters, **options)


def test_settle_puts_what_is_given_in_place_of_defaults():
    made = selector(PARAMETERS)
    assert made.settle({}, "x") == {name: each.default for name, each in PARAMETERS.items()}
    assert made.settle({"count": "7", "flag": "true"}, "x") == {**made.settle({}, "x"), "count": 7, "flag": True}
    assert PARAMETERS["count"].default == 5


@pytest.mark.parametrize(
    ("parameters", "given", "message"),
    [
        (PARAMETERS, {"cuont": 1}, "--set cuont: --preset x has no such parameter; there are flag, count, rate"),
        ({}, {"count": 1}, "--set count: --preset x has no such parameter; it has none"),
        (PARAMETERS, {"count": "many"}, "--set count=many: it should be a whole number from 1 to 9"),
    ],
)
def test_settle_refuses(parameters, given, message):
    with pytest.raises(InputError, match=message):
        selector(parameters).settle(given, "x")


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"target", "vectors"}, True),
        ({"margins"}, True),
        ({"texts", "target"}, False),
        ({"scores"}, False),
        ((), False),
    ],
)
def test_features_are_vectors_of_any_kind(needs, expected):
    assert selector({}, needs=frozenset(needs)).needs_features is expected


def context(**known):
    return Context(order=np.arange(5), sources=np.zeros(5, dtype=np.int64), **known)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("cuts", [[], [1, 4], [2, 2]])
def test_a_column_of_the_scores_comes_as_it_is(dtype, cuts, monkeypatch):
    monkeypatch.setattr("tasksift.vectors.BLOCK_BYTES", 2 * 4 * 2)
    table = np.array([[1, 30], [2, -4], [0, 5], [4, 6], [5, 7]], dtype=dtype)
    told = context(scores=Vectors(np.split(table, cuts)), score_names=("loss", "entropy"))
    for k, name in enumerate(told.score_names):
        found = told.column(name)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, table[:, k])


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, r"there is no score 'ifd' \(scores: none\); name it in --metrics or --score-column"),
        (
            {"scores": Vectors(np.ones((5, 2))), "score_names": ("loss", "entropy")},
            r"there is no score 'ifd' \(scores: loss, entropy\)",
        ),
    ],
)
def test_a_score_that_is_not_there(known, message):
    with pytest.raises(InputError, match=message):
        context(**known).column("ifd")


def test_a_pair_needs_both():
    pool, target = Vectors(np.ones((5, 2))), Vectors(np.ones((3, 2)))
    assert context(pool=pool, target=target).pair() == (pool, target)
    for known in ({"pool": pool}, {"target": target}, {}):
        with pytest.raises(ValueError, match="features of pool and target"):
            context(**known).pair()


def test_comparing_every_row_with_every_target():
    assert one_pass(Size(rows=10, targets=3, dim=7)) == 2 * 10 * 3 * 7
    assert selector({}).flops is one_pass
