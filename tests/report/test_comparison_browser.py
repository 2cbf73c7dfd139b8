"""The page of a comparison in a browser: what it says of its numbers, and that its charts can be read."""

import itertools

import pytest
from sample_comparison import comparison

pytestmark = pytest.mark.filterwarnings("default")
"""What the driver's own packages warn of is not ours."""

CHOOSE = """const all = [...document.querySelectorAll(arguments[0] + ' .segments label')];
    all.find((each) => each.textContent === arguments[1]).querySelector('input').click()"""

BOXES = """return [...document.querySelectorAll(arguments[0])].map((each) => {
    const box = each.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; })"""

TEXTS = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"


def table_of(data, task, budget, metric):
    return next(t for t in data["summary"]["tables"] if (t["task"], t["budget"], t["metric"]) == (task, budget, metric))


def overlaps(boxes, slack=1.5):
    return [
        (a, b)
        for a, b in itertools.combinations(boxes, 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > slack and min(a[3], b[3]) - max(a[1], b[1]) > slack
    ]


def test_it_shows_the_task_the_metric_and_the_budget_that_were_chosen(visit):
    data = comparison()
    seen = visit(data)
    for word in ("gsm", "accuracy", "5%"):
        seen.run(CHOOSE, "#results", word)
    rows = sorted(table_of(data, "gsm", "5%", "accuracy")["rows"], key=lambda row: -row["score"])
    apart = ("zero-shot", "full")
    expected = [row for row in rows if row["arm"] not in apart] + [row for row in rows if row["arm"] in apart]
    assert seen.run(TEXTS, ".result .called bdi") == [row["arm"] for row in expected]
    assert seen.run(TEXTS, ".result .score") == [f"{row['score'] * 100:.1f}%" for row in expected]
    words = seen.run("return [...document.querySelectorAll('.verdict')].map((each) => each.firstChild.textContent)")
    assert {"better than random", "worse than random", "the yardstick"} <= set(words)


def test_the_mean_over_tasks_comes_first(visit):
    data = comparison()
    shown = visit(data).run(TEXTS, ".result .score")
    assert set(shown) == {f"{row['score']:.3f}" for row in table_of(data, None, "0.5%", "loss")["rows"]}


def test_a_far_zero_shot_leaves_the_methods_their_room(visit):
    data = comparison()
    zero = data["summary"]["curves"][2]["zero"]
    seen = visit(data)
    heights = [(top + bottom) / 2 for _, top, _, bottom in seen.run(BOXES, "#curves .point")]
    (plot,) = seen.run(BOXES, "#curves .plot svg")
    assert max(heights) - min(heights) > 0.5 * (plot[3] - plot[1])
    assert f"\u2191 no training, {zero:.3f}" in seen.run(TEXTS, "#curves .edge-name")
    dots = [box[1] for box in seen.run(BOXES, "#frontier circle:is(.full, .plain-dot)")]
    (plot,) = seen.run(BOXES, "#frontier .plot svg")
    assert max(dots) - min(dots) > 0.5 * (plot[3] - plot[1])
    points = seen.run(
        "return [...document.querySelectorAll('.interval .estimate')].map((each) => +each.getAttribute('cx'))"
    )
    assert max(points) - min(points) > 80  # of 190
    assert seen.run("return document.querySelectorAll('.interval .edge').length") == 1


def test_labels_of_sixteen_lines_lie_apart_and_inside(visit):
    seen = visit(comparison(many=True))
    for shown in ("the score", "the difference to random"):
        seen.run(CHOOSE, "#curves", shown)
        seen.wait("return document.querySelector('#curves .ending text') !== null")
        labels = seen.run(BOXES, "#curves .ending text")
        assert len(labels) == (14 if shown == "the score" else 13)
        assert overlaps(labels) == []
        assert max(right for _, _, right, _ in labels) <= 1400 - 100
    assert overlaps(seen.run(BOXES, "#frontier svg text")) == []


def test_the_difference_to_random_is_drawn_from_the_tables(visit):
    data = comparison()
    seen = visit(data)
    seen.run(CHOOSE, "#curves", "the difference to random")
    seen.run("document.querySelector('#curves details.numbers').open = true")
    seen.wait("return document.querySelectorAll('#curves details.numbers tbody tr').length > 0")
    cells = "return [...document.querySelectorAll('#curves details.numbers tbody tr')].map((each) => each.innerText)"
    tables = [table_of(data, None, budget, "loss") for budget in ("0.5%", "1%", "5%")]
    means = [row["versus_random"]["mean"] for t in tables for row in t["rows"] if row["arm"] == "tsds"]
    shown = [line for line in seen.run(cells) if line.startswith("tsds")]
    assert [line.split()[2] for line in shown] == [f"{mean:+.3f}".replace("-", "\u2212") for mean in means]


def test_too_few_seeds_are_said_in_words(visit):
    data = comparison()
    for table in data["summary"]["tables"]:
        for row in table["rows"]:
            if row["versus_random"]:
                row["versus_random"].update(low=None, high=None, verdict="too few seeds")
    for loser in data["summary"]["losers"]:
        loser.update(low=None, high=None, verdict="too few seeds")
    for line in (line for curve in data["summary"]["curves"] for line in curve["lines"]):
        line["points"] = [{**point, "low": None, "high": None} for point in line["points"]]
    seen = visit(data)
    assert seen.messages() == []
    assert "too few seeds for a verdict" in seen.run(TEXTS, "#results .plain")[0]
    assert "no verdict: too few seeds" in seen.run(TEXTS, ".verdict")[0]
    assert "Below random, too little to judge" in seen.run(TEXTS, "#losers h3")
    for word in ("NaN", "undefined", "null", "Infinity"):
        assert word not in seen.run("return document.querySelector('main').innerHTML")


def test_random_as_the_best_is_said_plainly(visit):
    data = comparison()
    seen = visit(data)
    assert "Random drawing" not in seen.run(TEXTS, "#results .plain")[0]
    next(row for row in table_of(data, None, "0.5%", "loss")["rows"] if row["arm"] == "random")["score"] = 0.1
    seen = visit(data)
    assert seen.run(TEXTS, "#results .plain")[0].startswith("Random drawing is the best here.")
    assert seen.run(TEXTS, ".result .called")[0] == "randombest"


def test_every_column_of_the_score_card_is_explained(visit):
    seen = visit(comparison())
    heads = seen.run(TEXTS, ".card-table thead th")
    assert heads[0] == "Method"
    assert heads[1:] == seen.run(TEXTS, ".terms dt")
    assert "Spent on selecting" in heads
