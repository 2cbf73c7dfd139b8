"""The page as a text: what lies in it, and that nothing in the data ends it."""

import hashlib
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from importlib.resources import files

import pytest
import sample_comparison
import sample_data
from hypothesis import given, settings
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.report import page

KINDS = {"selection": sample_data.selection, "comparison": sample_comparison.comparison, "online": sample_data.online}


class Reader(HTMLParser):
    """The tags of a page with their texts, as a browser's parser sees them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.policy = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag if given.get("type") is None else f"{tag} {given['type']}")
        self.policy = given["content"] if "http-equiv" in given else self.policy

    def handle_data(self, data):
        if self.tags:
            self.texts[self.tags[-1]] = self.texts.get(self.tags[-1], "") + data


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_come_back_as_they_were(kind):
    data = KINDS[kind]()
    text = page.render(data)
    if kind == "selection":
        data["manifest"]["seed"] = str(data["manifest"]["seed"])  # JavaScript has no such number
    assert data_of(text) == json.loads(json.dumps(data))
    assert text.isascii()


@settings(max_examples=25)
@given(st.text(st.characters(), max_size=40) | st.sampled_from(sample_data.HOSTILE), st.sampled_from(list(KINDS)))
def test_no_text_changes_what_the_page_consists_of(text, kind):
    data = {
        "format": 1,
        "kind": kind,
        "title": text,
        "version": text,
        "glance": {"sentence": text},
        f"the {text}": [text],
    }
    seen, plain = Reader(page.render(data)), Reader(page.render({"format": 1, "kind": kind}))
    assert seen.tags == plain.tags
    assert seen.texts["script"] == plain.texts["script"]
    shown = json.loads(seen.texts["script application/json"])
    assert shown["title"] == text
    assert shown[f"the {text}"] == [text]


def test_the_policy_names_the_style_and_the_script_and_forbids_the_rest():
    text = page.render(sample_data.bare())
    seen = Reader(text)
    rules = dict(rule.split(maxsplit=1) for rule in seen.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    for tag in ("style", "script"):
        (written,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64decode(rules[f"{tag}-src"].removeprefix("'sha256-").removesuffix("'"))
        assert digest == hashlib.sha256(written.encode()).digest()


def test_numbers_that_are_not_finite_count_as_missing():
    data = {
        "format": 1,
        "kind": "online",
        "losses": [[float("nan"), float("inf"), 1.5]],
        "exact": [2**53, -(2**60), True],
    }
    assert data_of(page.render(data))["losses"] == [[None, None, 1.5]]
    assert data_of(page.render(data))["exact"] == [2**53, str(-(2**60)), True]


@pytest.mark.parametrize("data", [{}, {"format": 2, "kind": "online"}, {"format": 1, "kind": "other"}])
def test_what_the_page_does_not_know_is_refused_in_one_line(data):
    with pytest.raises(InputError, match="cannot be shown") as caught:
        page.render(data)
    assert "\n" not in str(caught.value)


def test_every_part_lies_in_the_package_and_is_used():
    there = {each.name for each in files("tasksift.report").iterdir() if each.name.endswith((".js", ".css"))}
    assert there == {*page._SCRIPTS, *page._STYLES}


def test_the_scripts_write_no_markup_and_ask_for_nothing():
    script = Reader(page.render(sample_data.bare())).texts["script"]
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttp",
    ):
        assert word not in script
    addresses = set(re.findall(r"https?://[^\"'\s]+", script))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nothing asks for


def test_a_title_shows_its_marks():
    assert "<title>a\\u202eb&lt;c\\u0000</title>" in page.render(
        {"format": 1, "kind": "online", "title": "a\u202eb<c\0"}
    )
