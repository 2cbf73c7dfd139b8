"""The page in a browser: what it shows, that it moves, and that nothing in it acts or leaves."""

import pytest
import sample_comparison
import sample_data

from tasksift.report import page

pytestmark = pytest.mark.filterwarnings("default")
"""What the driver's own packages warn of is not ours."""

MADE = {
    "selection": sample_data.selection,
    "comparison": sample_comparison.comparison,
    "online": sample_data.online,
    "bare": sample_data.bare,
}

PARTS = {"selection": 9, "comparison": 5, "online": 4, "bare": 1}
"""How many headings each has."""

NAMELESS = [
    "return [...document.querySelectorAll('input, select')].filter((each) => !each.labels.length).length",
    "return [...document.querySelectorAll('button, output')].filter((each) => !each.textContent.trim()).length",
    "return [...document.querySelectorAll('svg')].filter((each) => !each.getAttribute('aria-label')).length",
    "return [...document.querySelectorAll('table')].filter((each) => !each.caption).length",
    "const ids = [...document.querySelectorAll('[id]')].map((each) => each.id); return ids.length - new Set(ids).size",
]
"""How many controls, charts and tables have no name, and how many names of places are there twice."""


@pytest.mark.parametrize("kind", MADE)
def test_a_page_opens_without_a_word_and_asks_for_nothing_else(kind, visit):
    seen = visit(MADE[kind]())
    assert seen.messages() == []
    asked = [address for address in seen.requests() if not address.startswith("data:")]
    assert [address.rsplit("/", 1)[-1] for address in asked] == ["report.html"]
    assert seen.run("return document.querySelector('h1').textContent") == MADE[kind]()["title"]
    assert seen.run("return document.querySelectorAll('h2').length") == PARTS[kind]
    for nameless in NAMELESS:
        assert seen.run(nameless) == 0


def test_the_slider_moves_numbers_and_bars_and_goes_back(visit):
    seen = visit(sample_data.selection())
    state = """const part = document.getElementById('what-if');
        return [[...part.querySelectorAll('.panel-value')].map((each) => each.textContent),
                [...part.querySelectorAll('.bar.chosen')].map((each) => each.getBoundingClientRect().width > 0
                    && each.style.width),
                part.querySelector('output').textContent, part.querySelector('button').disabled]"""
    slide = "const s = document.getElementById('knob'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
    own = seen.run(state)
    assert own[0] == ["530", "93%", "0.41"]
    assert own[2:] == ["8", True]
    seen.run(slide, 7)
    moved = seen.run(state)
    assert moved[0] == ["3,300", "62%", "0.57"]
    assert moved[2:] == ["128", False]
    assert all(before != after for before, after in zip(own[1], moved[1], strict=True))
    seen.run("document.querySelector('#what-if button').click()")
    assert seen.run(state) == own
    assert seen.messages() == []


def test_the_map_tells_a_row_under_the_pointer_and_by_the_keys(visit):
    seen = visit(sample_data.selection())
    quote = "return document.querySelector('#map .card .quote')?.textContent"
    key = "document.querySelector('#map svg').dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))"
    assert seen.run(quote) is None
    seen.run(key, "ArrowRight")
    first = seen.run(quote)
    seen.run(key, "ArrowRight")
    assert first.startswith("Row ")
    assert seen.run(quote) != first
    seen.run("""const ring = document.querySelector('#map .ring').getBoundingClientRect();
        const at = {clientX: ring.x + 8, clientY: ring.y + 8};
        document.querySelector('#map svg').dispatchEvent(new PointerEvent('pointermove', at))""")
    assert seen.run(quote).startswith("Row ")
    dots = "return document.querySelector('#map .dots.chosen').getAttribute('d').length"
    before = seen.run(dots)
    seen.run(
        "const s = document.querySelector('#map select'); s.selectedIndex = 2; s.dispatchEvent(new Event('change'))"
    )
    assert 0 < seen.run(dots) < before


def test_the_search_leaves_the_rows_that_hold_a_word(visit):
    seen = visit(sample_data.selection())
    seen.run(
        "const s = document.getElementById('search'); s.value = 'LEAVES AT 31'; s.dispatchEvent(new Event('input'))"
    )
    shown = "return [...document.querySelectorAll('#samples li')].filter((each) => !each.hidden).length"
    assert seen.run(shown) == 1
    assert seen.run("return document.querySelector('#samples .count').textContent") == "1 of 36 rows"


@pytest.mark.parametrize("kind", ["selection", "comparison", "online"])
def test_hostile_texts_are_shown_and_do_not_act(kind, visit):
    hostile = " ".join(sample_data.HOSTILE)
    seen = visit(MADE[kind](text=hostile))
    text = seen.text()
    for each in ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "${alert(3)}", "&lt;b&gt;"):
        assert each in text
    for mark in ("\\u202e", "\\u2066", "\\u0000", "\\u0007", "\\u2028", "\\ud800", "\\u200b"):
        assert mark in text
    assert not set(text) & set("\u202e\u2066\0\x07\u2028\u200b")
    assert seen.run("return document.querySelectorAll('#page script, #page img, #page b').length") == 0
    assert seen.messages() == []
    assert all(address.startswith(("file:", "data:")) for address in seen.requests())
    assert seen.overflow() <= 0


def test_what_is_smuggled_in_is_stopped_by_the_policy(visit):
    seen = visit(sample_data.bare())
    seen.run("""const s = document.createElement('script'); s.textContent = 'window.ran = true';
        document.body.append(s);
        const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x'; document.body.append(i)""")
    assert seen.run("return window.ran === undefined")
    assert any("Content Security Policy" in message for message in seen.messages())


def test_a_row_of_a_megabyte_and_2500_dots_open(visit):
    data = sample_data.selection(points=2500)
    data["samples"][0]["text"] = "a" * 1_000_000
    seen = visit(data, width=360)
    assert seen.overflow() <= 0
    assert seen.run("return document.querySelector('#samples .quote').textContent.length") == 1_000_000
    assert len(page.render(data)) < 5_000_000


@pytest.mark.parametrize(
    "data",
    [sample_data.selection(), sample_comparison.comparison(many=True), sample_data.online(domains=40)],
    ids=["selection", "comparison of many", "online"],
)
def test_a_phone_has_nothing_to_scroll_sideways(data, visit):
    seen = visit(data, width=360)
    assert seen.overflow() <= 0
    seen.run("for (const each of document.querySelectorAll('details')) each.open = true")
    seen.run("for (const each of document.querySelectorAll('button.more')) each.click()")
    assert seen.overflow() <= 0


def test_a_page_that_is_too_wide_is_noticed(visit):
    seen = visit(sample_data.bare(), width=360)
    seen.run("document.querySelector('h1').style.width = '500px'")
    assert seen.overflow() >= 100


def test_light_and_dark_follow_the_system_and_the_button(visit):
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = visit(sample_data.selection()).run(paper)
    seen = visit(sample_data.selection(), dark=True)
    dark = seen.run(paper)
    assert light != dark
    assert seen.run("return document.querySelector('button.theme').textContent") == "Light"
    seen.run("document.querySelector('button.theme').click()")
    assert seen.run(paper) == light
