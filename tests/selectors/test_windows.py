"""Best window selection against a definition of a few lines."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.selectors import SELECTORS, Context, ridge, windows
from tasksift.selectors.ridge import Regression, Sets
from tasksift.vectors import Vectors

RNG = np.random.default_rng(5)
N, DIM, CLASSES = 180, 7, 4
LABELS = RNG.integers(0, CLASSES, N)
FEATURES = RNG.normal(size=(CLASSES, DIM))[LABELS] + RNG.normal(size=(N, DIM))
TARGET = RNG.normal(size=(5, DIM))
DIFFICULTY = RNG.integers(0, 9, N).astype(float)
ORDER = RNG.permutation(N)


def slow_accuracy(rows, judged, lam=1.0, features=FEATURES, labels=LABELS):
    with_one = np.hstack([features, np.ones((len(features), 1))])
    f, y = with_one[rows], np.eye(labels.max() + 1)[labels[rows]]
    weights = np.linalg.inv(f.T @ f + lam * np.eye(f.shape[1])) @ f.T @ y
    return np.mean((with_one @ weights).argmax(axis=1)[judged] == labels[judged])


def slow_error(rows, lam=1.0, target=TARGET):
    f = FEATURES[rows]
    errors = []
    for q in target:  # least squares with the ridge as rows of their own
        c = np.linalg.lstsq(np.vstack([f.T, np.sqrt(lam) * np.eye(len(f))]), np.append(q, np.zeros(len(f))), rcond=None)
        errors.append(((q - f.T @ c[0]) ** 2).sum())
    return np.mean(errors)


def all_windows(ranking, budget):
    placed = ranking.windows(budget)
    return placed.starts, [ranking.rows(placed, k) for k in range(len(placed.starts))]


@pytest.mark.parametrize("budget", [3, 8, 20, 90, 171, 180])
@pytest.mark.parametrize("easiest", [1.0, 0.5])
def test_classes_are_told_apart_as_the_definition_does(budget, easiest):
    ranking = windows.prepare(DIFFICULTY, FEATURES, labels=LABELS, order=ORDER, easiest=easiest)
    starts, sets = all_windows(ranking, budget)
    judged = np.arange(N)
    if easiest < 1:
        by_class = [ranking.ranked[LABELS[ranking.ranked] == c] for c in range(CLASSES)]
        judged = np.concatenate([each[len(each) - int(len(each) / 2 + 0.5) :] for each in by_class])
    expected = [slow_accuracy(rows, judged) for rows in sets]
    plan = ranking.plan(budget)
    np.testing.assert_allclose(plan.info["curve"]["accuracy"], expected, rtol=1e-12)
    assert plan.info["curve"]["start"] == starts.tolist()
    assert plan.info["start"] == starts[np.argmax(expected)]
    assert sorted(plan.ids) == sorted(sets[np.argmax(expected)])
    assert plan.complete == (budget == N)


@pytest.mark.parametrize("budget", [1, 3, 8, 20, 90, 180])
@pytest.mark.parametrize("lam", [1e-3, 1.0, 50.0])
def test_targets_are_approached_as_the_definition_does(budget, lam):
    ranking = windows.prepare(DIFFICULTY, FEATURES, labels=LABELS, target=TARGET, order=ORDER, ridge=lam)
    _, sets = all_windows(ranking, budget)
    plan = ranking.plan(budget)
    expected = [slow_error(rows, lam) for rows in sets]
    np.testing.assert_allclose(plan.info["curve"]["target_error"], expected, rtol=1e-8)
    assert sorted(plan.ids) == sorted(sets[np.argmin(expected)])


@pytest.mark.parametrize("target", [None, TARGET])
@pytest.mark.parametrize("width", [1, 7, 8, 60])
def test_systems_of_rows_and_of_dimensions_agree(target, width):
    begin = np.maximum(np.arange(N) - width + 1, 0)
    sets = Sets(np.arange(N), begin, np.minimum(np.arange(N) + 1, N - width + 1), N - width + 1, width)
    found = [
        list(Regression(Vectors(FEATURES), 1.0, LABELS, target, by_rows).solve(sets)) for by_rows in (True, False, None)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-8)
    np.testing.assert_array_equal(found[2], found[width >= DIM + (target is None)])
    assert [sets.members(k).tolist() for k in (0, N - width)] == [list(range(width)), list(range(N - width, N))]


@pytest.mark.parametrize("target", [None, TARGET])
def test_lots_change_nothing_and_blocks_rounding_only(target, monkeypatch):
    ranking = windows.prepare(DIFFICULTY, FEATURES, labels=LABELS, target=target)
    whole = ranking.worth(ranking.windows(40))
    monkeypatch.setattr(ridge, "GRAM_BYTES", 3 * 8 * (DIM + 1) ** 2)
    np.testing.assert_array_equal(ranking.worth(ranking.windows(40)), whole)
    monkeypatch.setattr(ridge, "BLOCK_BYTES", 0)
    np.testing.assert_allclose(ranking.worth(ranking.windows(40)), whole, rtol=1e-9)


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@given(sizes, st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.1, 0.3, 1.0]))
@settings(max_examples=80)
def test_windows_are_slices_of_one_order_with_exact_shares(each, seed, step):
    """Published fragments draw tie noise again for every window and compare ranks as fractions, off by one."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(each)), each))
    n = len(labels)
    budget = int(rng.integers(1, n + 1))
    difficulty = rng.integers(0, 3, n).astype(float)
    ranking = windows.prepare(difficulty, rng.normal(size=(n, 2)), labels=labels, step=step, seed=seed)
    assert (np.diff(difficulty[ranking.ranked]) <= 0).all()
    starts, sets = all_windows(ranking, budget)
    assert starts[0] == 0
    np.testing.assert_allclose(np.diff(starts), step)
    assert starts[-1] <= 1 - budget / n + 1e-9 < starts[-1] + step + 2e-9
    for start, rows in zip(starts, sets, strict=True):
        assert len(rows) == len(set(rows.tolist())) == budget
        for c, size in enumerate(each):
            place = np.flatnonzero(np.isin(ranking.ranked[labels[ranking.ranked] == c], rows))
            assert abs(len(place) - budget * size / n) < 1
            assert (np.diff(place) == 1).all()
            if len(place):
                assert abs(place[0] - start * size) <= 1
    counts = {tuple(np.bincount(labels[rows], minlength=len(each))) for rows in sets}
    assert len(counts) == 1


def test_ratio_and_start_are_numbers_of_their_own():
    """A published fragment packs both into one float, ``ratio * 100 + window``, and takes them apart by rounding."""
    plan = windows.fit(DIFFICULTY, FEATURES, budget=101, labels=LABELS)
    assert plan.info["width"] == 101 / N
    assert plan.info["start"] in plan.info["curve"]["start"]


def test_values_go_from_hard_to_easy_with_the_classes_in_proportion():
    plan = windows.fit(DIFFICULTY, FEATURES, budget=80, labels=LABELS)
    assert sorted(plan.values) == list(range(-79, 1))
    ranked = plan.ids[np.argsort(-plan.values)]
    for c in range(CLASSES):
        assert (np.diff(DIFFICULTY[ranked[LABELS[ranked] == c]]) <= 0).all()
    for k in (20, 40, 60):
        shares = np.bincount(LABELS[ranked[:k]], minlength=CLASSES) - k * np.bincount(LABELS) / N
        assert np.abs(shares).max() < 2


@pytest.mark.parametrize("options", [{"labels": LABELS}, {"labels": LABELS, "target": TARGET}, {"clusters": 5}])
def test_the_order_of_the_pool_changes_nothing(options):
    shuffle = RNG.permutation(N)
    moved = {name: value[shuffle] if name == "labels" else value for name, value in options.items()}
    one = windows.fit(DIFFICULTY, FEATURES, budget=50, order=ORDER, **options)
    other = windows.fit(
        DIFFICULTY[shuffle], np.split(FEATURES[shuffle], [7, 90]), budget=50, order=ORDER[shuffle], **moved
    )
    np.testing.assert_array_equal(one.dense(N)[shuffle], other.dense(N))
    assert one.info == other.info


def test_codes_of_classes_mean_nothing():
    renamed = np.array([40, -3, 7, 11])[LABELS]
    one, other = (
        windows.fit(DIFFICULTY, FEATURES, budget=33, labels=labels, order=ORDER) for labels in (LABELS, renamed)
    )
    np.testing.assert_array_equal(one.ids, other.ids)
    assert one.info == other.info


def test_the_seed_breaks_ties():
    same = np.ones(N)
    ids = [windows.fit(same, FEATURES, budget=30, labels=LABELS, seed=seed).ids.tolist() for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_a_window_explains_the_targets_that_lie_in_it():
    """Difficulty turns the features around; targets from one place find the window there."""
    angle = np.linspace(0, np.pi / 2, 400)
    features = np.column_stack([np.cos(angle), np.sin(angle)])
    for middle in (0.1, 0.5, 0.9):
        target = np.array([[np.cos(middle * np.pi / 2), np.sin(middle * np.pi / 2)]])
        plan = windows.fit(-angle, features, budget=40, target=target, clusters=1)
        assert abs(plan.info["start"] + 0.05 - middle) < 0.051


def test_noisy_labels_are_judged_by_the_easy_rows():
    """The hardest rows carry wrong labels; judged on all rows by themselves they would count against the truth."""
    labels = LABELS.copy()
    wrong = DIFFICULTY >= 5
    labels[wrong] = (labels[wrong] + 1) % CLASSES
    clean, noisy = (windows.fit(DIFFICULTY, FEATURES, budget=45, labels=labels, easiest=share) for share in (0.5, 1.0))
    assert wrong[clean.ids].mean() < 0.2
    assert clean.info["start"] > 0.3
    assert min(clean.info["curve"]["accuracy"]) < min(noisy.info["curve"]["accuracy"])


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("target", [None, TARGET])
def test_small_pools(n, target):
    plan = windows.fit(DIFFICULTY[:n], FEATURES[:n], budget=n, target=target)
    assert plan.ids.tolist() == list(range(n))
    assert plan.complete
    assert len(windows.fit(DIFFICULTY[:n], FEATURES[:n], budget=1, target=target).ids) == 1


def test_copies_of_one_row():
    plan = windows.fit(np.ones(40), np.ones((40, 3)), budget=10, target=np.ones((1, 3)))
    assert len(plan.ids) == 10
    assert len(set(plan.info["curve"]["target_error"])) == 1
    assert plan.info["start"] == 0


def context(**known):
    scores = Vectors(np.column_stack([np.ones(N), DIFFICULTY]))
    return Context(
        order=ORDER, sources=np.zeros(N, dtype=np.int64), pool=Vectors(FEATURES), scores=scores,
        score_names=("loss", "el2n"), **known,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "given", "options"),
    [
        ({}, {}, {}),
        ({"groups": LABELS}, {"easiest": "0.5"}, {"labels": LABELS, "easiest": 0.5}),
        ({"target": Vectors(TARGET)}, {"clusters": "3"}, {"target": TARGET, "clusters": 3}),
        ({"target": Vectors(TARGET), "groups": LABELS}, {"proxy": "target"}, {"target": TARGET, "labels": LABELS}),
        ({"target": Vectors(TARGET), "groups": LABELS}, {"proxy": "classes"}, {"labels": LABELS}),
    ],
)
def test_the_selector_takes_what_there_is(known, given, options):
    selector = SELECTORS["bws"]
    plan = selector.prepare(context(**known), selector.settle({"metric": "el2n", **given}, "bws"))(30)
    expected = windows.fit(DIFFICULTY, FEATURES, budget=30, order=ORDER, **options)
    np.testing.assert_array_equal(plan.ids, expected.ids)
    np.testing.assert_array_equal(plan.values, expected.values)
    assert plan.info == {"difficulty": "el2n", **expected.info}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=0, labels=LABELS), "a window of 0 rows"),
        (
            lambda: windows.fit(DIFFICULTY[1:], FEATURES, budget=5),
            r"pool has 180 rows and there are \(179,\) difficulties",
        ),
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, labels=LABELS[1:]), r"there are \(179,\) labels"),
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, target=TARGET[:, 1:]), "7 dimensions and target has 6"),
        (lambda: windows.fit(np.r_[np.nan, DIFFICULTY[1:]], FEATURES, budget=5), "difficulty of row 0 is not a finite"),
        (lambda: windows.fit(DIFFICULTY, FEATURES * np.nan, budget=5), "row 0 holds a NaN"),
        (lambda: windows.fit(DIFFICULTY[:0], FEATURES[:0], budget=5), "there are no rows"),
        (
            lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, clusters=1),
            "one class has nothing to be told apart from",
        ),
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, step=0.0), "step 0.0 and easiest 1.0 lie above 0"),
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, ridge=0.0), "ridge 0.0 above 0"),
        (lambda: windows.fit(DIFFICULTY, FEATURES, budget=5, target=TARGET, easiest=0.5), "leave it out"),
        (lambda: windows.fit(np.ones(9), np.full((9, 2), 1e9), budget=5, target=np.ones((1, 2)), ridge=1e-9), "larger"),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_judgement_by_targets_needs_targets():
    selector = SELECTORS["bws"]
    with pytest.raises(InputError, match="--set proxy=target needs target rows"):
        selector.prepare(context(), selector.settle({"proxy": "target"}, "bws"))


def test_digits():
    """A network learns more from the window than from the hardest rows, and no less than from random ones."""
    pytest.importorskip("torch")
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "bws_digits.py"
    spec = importlib.util.spec_from_file_location("bws_digits", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    digits = bench.load()
    difficulty = bench.forgetting(digits)
    assert 0.4 < (difficulty == 0).mean() < 0.6
    plans = {ratio: bench.choose(digits, difficulty, ratio) for ratio in bench.RATIOS}
    starts = [plan.info["start"] for plan in plans.values()]
    assert starts == sorted(starts, reverse=True)
    assert starts[0] >= 0.2
    assert starts[-1] == 0
    for ratio in (0.05, 0.3):
        chosen = bench.accuracy(digits, plans[ratio].ids)
        assert chosen >= bench.accuracy(digits, bench.subset(digits, ratio)) - 0.01
        if ratio == 0.05:
            assert chosen >= bench.accuracy(digits, bench.window(digits, difficulty, ratio, 0)) + 0.15
