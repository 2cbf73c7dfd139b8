"""What tests of several folders share."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does, and is no test's business.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process for each core, so one thread for each; read when NumPy is first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(scope="module")
def short_collections():
    """Every training collects garbage; the modules that are loaded by now are none, and looking at them takes long."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def s3():
    """A storage that speaks the language of S3, for a whole module."""
    pytest.importorskip("moto")
    from s3_server import serving

    with serving() as storage:
        yield storage


@pytest.fixture
def storage(s3, monkeypatch):
    """The same, empty, and where this process looks for S3."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    s3.clear()
    return s3
