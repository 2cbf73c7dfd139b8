"""Pools that tempt fast search and fast densities into errors, each with a bandwidth that matters in it."""

import numpy as np

from tasksift.vectors import Vectors

ROWS = 120


def cases(dim, seed=0):
    """Name -> (pool of `ROWS` rows, bandwidth)."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(ROWS, dim)) / np.sqrt(dim)
    unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    clustered = np.repeat(plain[:12], ROWS // 12, axis=0) + 0.1 * rng.normal(size=(ROWS, dim)) / np.sqrt(dim)
    hair = rng.choice([-1e-7, -1e-9, -1e-12, 0, 1e-12, 1e-9, 1e-7], size=(ROWS // 2, 1))
    border = plain[: ROWS // 2]
    steady = clustered.copy()
    steady[:, ::2] = 7.0
    return {
        "plain": (plain, 1.3),
        "clustered": (clustered, 0.15),
        "near-ties": (np.vstack([plain[:1] * 0, unit[1:] * (1 + 1e-12 * rng.normal(size=(ROWS - 1, 1)))]), 1.0),
        "pairs at the border": (np.vstack([border, border + 0.5 * (1 + hair) * unit[: ROWS // 2]]), 0.5),
        "pairs at the border, far out": (1e3 + np.vstack([border, border + 0.5 * (1 + hair) * unit[ROWS // 2 :]]), 0.5),
        "near-duplicates": (np.repeat(plain[: ROWS // 10], 10, axis=0) + 1e-9 * plain, 2e-9),
        "zero vectors": (np.vstack([np.zeros((20, dim)), 1e-9 * plain[:20], plain[40:]]), 1.2),
        "huge norms": (clustered * 1e12, 0.15e12),
        "beyond products of float32": ((clustered * 1e20).astype(np.float32), 0.15e20),
        "beyond float32": (clustered * 1e60, 0.15e60),
        "beyond halves of float32": (clustered * 1e17, 0.15e17),
        "squares underflow": (clustered * 1e-23, 0.15e-23),
        "values underflow": (clustered * 1e-60, 0.15e-60),
        "one far outlier": (np.vstack([clustered[:-1], np.full((1, dim), 1e9)]), 0.15),
        "one farther outlier": (np.vstack([np.full((1, dim), -1e25), clustered[1:]]).astype(np.float32), 0.15),
        "all equal": (np.repeat(plain[:1], ROWS, axis=0), 0.5),
        "all equal but one": (np.vstack([np.repeat(plain[:1], ROWS - 1, axis=0), plain[1:2]]), 5.0),
        "copies": (np.repeat(clustered[::5], 5, axis=0), 0.15),
        "constant columns": (steady.astype(np.float32), 0.15),
        "far from the origin": (clustered * 1e-3 + 1e3, 0.15e-3),
        "every scale": (plain * 2.0 ** -(np.arange(ROWS)[:, None] // 4), 1e-3),
        "half precision": (clustered.astype(np.float16), 0.15),
        "bytes": (np.rint(clustered * 60).astype(np.int8), 9.0),
    }


NAMES = list(cases(1))


def bfloat16(values):
    """The values cut to bfloat16, as NumPy saves the ones of ml_dtypes: two opaque bytes each."""
    return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16).view("V2")


def exact(pool, *, normalize=False):
    """The rows in float64."""
    vectors = Vectors(pool, normalize=normalize)
    return vectors.take(np.arange(len(vectors)))
