"""Histograms of two samples over the same edges, in shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.scratch import chunks

Numbers = NDArray[Any]

BINS = 30

LEAST, WIDTH = 1e-6, 1e-3
"""Samples that are no wider than that, for numbers about 1, get edges that are as wide as this."""


def edges_of(*samples: Numbers, log: bool = False) -> NDArray[np.float64]:
    """Return `BINS` + 1 edges over all samples, evenly spaced, or evenly in logarithms for numbers of 1 and more."""
    low, high = (float(f(each)) for f, each in ((min, [s.min() for s in samples]), (max, [s.max() for s in samples])))
    if log:
        return np.geomspace(low, max(high, 2 * low), BINS + 1)
    scale = max(1.0, abs(low))
    return np.linspace(low, high if high > low + LEAST * scale else low + WIDTH * scale, BINS + 1)


def shares(values: Numbers, edges: NDArray[np.float64], weights: Numbers | None = None) -> NDArray[np.float64]:
    """Return the share of the values in each bin; values beyond the ends by rounding count in the last bins."""
    counts = np.zeros(len(edges) - 1)
    for some in chunks(len(values)):
        here = None if weights is None else weights[some]
        counts += np.histogram(np.clip(values[some], edges[0], edges[-1]), edges, weights=here)[0]
    part: NDArray[np.float64] = counts / counts.sum()
    return part
