"""Records as JSON: values that JSON cannot hold, a canonical form to digest, and text that is always encodable."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return what JSON writes for a value it cannot hold.

    Dates and times become ISO 8601; bytes become text when they are UTF-8, else base64; NumPy values become Python's;
    anything else (Decimal, UUID) becomes ``str(value)``.
    """
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return base64.b64encode(data).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain)
_escaped = json.JSONEncoder(separators=(",", ":"), default=plain)
_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain, sort_keys=True)
_spaced = json.JSONEncoder(ensure_ascii=False, default=plain)


def compact(value: Any) -> str:
    """Return `value` as JSON without spaces."""
    return _compact.encode(value)


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the JSON of a record with sorted keys, the same bytes for equal records whatever file they stood in."""
    return _canonical.encode(record).encode("utf-8", "surrogatepass")


def json_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of JSON in UTF-8, without the newline; lone surrogates stay as escapes."""
    try:
        return _spaced.encode(record).encode()
    except UnicodeEncodeError:
        return _escaped.encode(record).encode()


def well_formed(text: str) -> str:
    """Return `text` with lone surrogates, which no tokenizer or file accepts, replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
