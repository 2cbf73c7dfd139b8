"""Identities: what makes computed things what they are, as JSON, and how two of them differ, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the hex digest of an identity; the order of its keys does not matter."""
    return blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Say in words where two identities differ, by the dotted names of what differs."""
    theirs, ours = dict(_leaves(there)), dict(_leaves(here))
    return {
        key: f"{key}: {_short(theirs, key)} there, {_short(ours, key)} here"
        for key in sorted(ours.keys() | theirs.keys())
        if key not in ours or key not in theirs or ours[key] != theirs[key]
    }


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings, and of lists of them."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        elif isinstance(inner, list) and any(isinstance(each, dict) for each in inner):
            yield from _leaves({str(k): each for k, each in enumerate(inner)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _short(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 80 else text[:77] + "..."
