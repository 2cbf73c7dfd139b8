"""What tests of several folders share."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module")
def short_collections():
    """Every training collects garbage; the modules that are loaded by now are none, and looking at them takes long."""
    gc.freeze()
    yield
    gc.unfreeze()
