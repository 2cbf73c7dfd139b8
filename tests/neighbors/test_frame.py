"""Frames: what the coordinates may be off by, and when there are any."""

import numpy as np
import pytest
from adversarial import NAMES, cases, exact
from oracles import distances

from tasksift.neighbors import frame as module
from tasksift.neighbors.frame import Survey
from tasksift.neighbors.groups import singletons
from tasksift.vectors import Vectors


def choose_frame(pool, sigma, *, normalize=False):
    vectors = Vectors(pool, normalize=normalize)
    survey = Survey(vectors, singletons(vectors, np.arange(len(pool))))
    return survey.choose_frame(survey.sample[::12], sigma)


def aligned(frame):
    """The orthonormal directions nearest to a frame's."""
    left, _, right = np.linalg.svd(frame.basis.astype(float), full_matrices=False)
    return left @ right


@pytest.mark.parametrize(("directions", "normalize"), [(32, False), (32, True), (128, False)])
@pytest.mark.parametrize("name", NAMES)
def test_coordinates_are_off_by_no_more_than_the_frame_says(monkeypatch, name, directions, normalize):
    monkeypatch.setattr(module, "DIRECTIONS", (directions,))
    monkeypatch.setattr(module, "_DIRECT", 0.0)
    pool, sigma = cases(140)[name]
    vectors = Vectors(pool, normalize=normalize)
    rows, narrow = exact(pool, normalize=normalize), vectors.narrow(vectors.raw((0, 120)))
    frame = choose_frame(pool, sigma, normalize=normalize)
    if frame.basis is None:
        truth, coordinates = rows, frame.coordinates(narrow).astype(float)
    else:
        truth, coordinates = rows @ aligned(frame), frame.coordinates(narrow).astype(float)
        assert frame.basis.shape == (140, directions)
    off = np.linalg.norm(coordinates - truth, axis=1)
    # Numbers too small for float32 are rounded to zero; whoever uses the coordinates allows for it.
    assert (off <= frame.error * np.linalg.norm(rows, axis=1) + 140 * 2.0**-126).all()


def test_a_frame_is_chosen_where_it_pays():
    rng = np.random.default_rng(0)
    low = (rng.normal(size=(600, 10)) @ rng.normal(size=(10, 200))).astype(np.float32)
    low += 0.01 * rng.normal(size=low.shape).astype(np.float32)
    assert choose_frame(low, 5.0).basis.shape == (200, 32)
    alike = rng.normal(size=(600, 200)).astype(np.float32)
    # Nothing to choose from.
    for sample in (alike[:, :32], 1e60 * alike.astype(np.float64), np.ones((50, 200), np.float32)):
        assert choose_frame(sample, 1.0).basis is None


def test_a_frame_keeps_distances_along_it():
    rng = np.random.default_rng(0)
    low = (rng.normal(size=(300, 10)) @ rng.normal(size=(10, 100))).astype(np.float32)
    frame = choose_frame(low, 1.0)
    seen = frame.coordinates(low)
    np.testing.assert_allclose(distances(seen, seen[:5]), distances(low, low[:5]), rtol=1e-4, atol=1e-4)
