"""The page of a report: one HTML file that needs nothing else, and from which nothing can leave."""

from __future__ import annotations

import html
import json
import math
import unicodedata
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from tasksift.errors import InputError

FORMAT = 1
"""The format of the data that the page shows."""

_SCRIPTS = (
    "text.js",
    "elements.js",
    "charts.js",
    "histogram.js",
    "lines.js",
    "areas.js",
    "prices.js",
    "bars.js",
    "map.js",
    "whatif.js",
    "selection.js",
    "results.js",
    "verdicts.js",
    "scorecard.js",
    "losers.js",
    "comparison.js",
    "online.js",
    "record.js",
    "page.js",
)

_STYLES = ("page.css", "charts.css", "selection.css", "comparison.css", "screens.css")

KINDS = ("selection", "comparison", "online")

_EXACT = 2**53
"""Beyond this a number of JavaScript loses digits, so whole numbers are shown as text."""


def render(data: Mapping[str, Any]) -> str:
    """Return the HTML of a report, in ASCII.

    Parameters
    ----------
    data : mapping
        As JSON: ``format`` 1, ``kind`` one of `KINDS`, ``title``, ``version``, and the parts of that kind; a part that
        is missing or None is left out of the page. Nothing in it is trusted: texts are shown as they are, control and
        direction marks as escapes. Numbers that are not finite count as missing.

    Raises
    ------
    InputError
        If the page does not know the format or the kind.

    Notes
    -----
    The content security policy lets run only the one style and the one script of this package, by their digests,
    and forbids every request. The data lie in the page as JSON that holds no ``<``, so nothing in them ends it.
    """
    kind, written = data.get("kind"), data.get("format")
    if kind not in KINDS or written != FORMAT:
        raise InputError(
            f"a report of kind {kind!r} and format {written!r} cannot be shown; this version shows format {FORMAT} of "
            f"{', '.join(KINDS)}: write the report again with this version of tasksift"
        )
    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _PAGE.format(
        policy=html.escape(policy),
        title=html.escape(_visible(str(data.get("title", "")))),
        style=style,
        data=_as_json(data),
        script=script,
    )
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _style() -> str:
    return "\n" + "\n".join(_read(name) for name in _STYLES)


def _script() -> str:
    """All scripts as one function, so that they share names with each other and with nothing else."""
    return "\n(() => {\n'use strict';\n" + "\n".join(_read(name) for name in _SCRIPTS) + "\n})();\n"


def _read(name: str) -> str:
    # The digest is of these very characters, and a browser reads every line end as a line feed.
    return files("tasksift.report").joinpath(name).read_text(encoding="ascii").replace("\r\n", "\n")


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode("ascii")).digest()).decode("ascii")


def _as_json(data: Mapping[str, Any]) -> str:
    text = json.dumps(_plain(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return str(value)
    return value


def _visible(text: str) -> str:
    """Show what would act on the text around it, such as U+202E, as an escape."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(f"\\u{ord(each):04x}" if unicodedata.category(each) in hidden else each for each in text)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This report draws itself with a script that lies in this file. Allow scripts to read it.</noscript>
<div id="page"></div>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
