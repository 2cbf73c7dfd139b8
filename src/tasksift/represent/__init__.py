"""Representations: what is computed for an example before anything is selected.

A representation turns texts into rows of numbers whose distances mean something; selectors never ask which one it was.
"""

from __future__ import annotations

REPRESENTATIONS: dict[str, str] = {
    "tfidf": "TF-IDF of words and word pairs, reduced by a truncated SVD fitted on a sample of the pool; no download",
    "vectors": "vectors of your own: a .npy file or a folder of .npy shards, one row per example",
}
"""The representations that exist, and what each is."""

__all__ = ["REPRESENTATIONS"]
