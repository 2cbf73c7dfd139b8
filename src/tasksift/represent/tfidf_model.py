"""A fitted TF-IDF and SVD: what `tasksift.represent.tfidf.fit` makes, and all that the processes that embed need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, UnfinishedError
from tasksift.represent.shelf import Where, shelf
from tasksift.represent.words import BLOCK_TEXTS, Vocabulary
from tasksift.shards import open_shard

_NO_LENGTH = 1e-6


@dataclass(frozen=True, eq=False)
class Tfidf:
    """A fitted TF-IDF and SVD; made by `tasksift.represent.tfidf.fit` or `Tfidf.load`.

    Attributes
    ----------
    words : list of str (w,)
        The words and word pairs that count, sorted.
    projection : float32 (w, dim)
        What one word, with a logarithmic count of 1, adds to a vector: its idf times the right singular vectors.
    parameters : dict
        What `fit` was asked for, and the number of texts that it saw.
    """

    words: list[str]
    projection: NDArray[np.float32]
    parameters: dict[str, Any]

    @property
    def dim(self) -> int:
        """Dimensions before the last one, which is kept for texts that hold no known word."""
        return int(self.projection.shape[1])

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, dim + 1): rows of length 1.

        A text without a known word gets the unit vector of the last axis, on which every other text has 0: it is
        unrelated to all of them and equal to its like. A row is the same, bit for bit, in whatever batch it comes.

        Cost: O(words of the texts * dim) time, `BLOCK_TEXTS` texts at a time besides the result.
        """
        out = np.zeros((len(texts), self.dim + 1), dtype=np.float32)
        for start in range(0, len(texts), BLOCK_TEXTS):
            block = out[start : start + BLOCK_TEXTS]
            if self.words:
                counts = self._vocabulary.count(self._vocabulary.encode(texts[start : start + BLOCK_TEXTS]))
                counts.data = np.log(counts.data) + np.float32(1)
                # Sparse times dense goes row by row in the order of the words, so no row sees another.
                block[:, :-1] = counts @ self.projection
            length = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1))
            unknown = length < _NO_LENGTH
            block[unknown] = 0
            block[unknown, -1] = 1
            length[unknown] = 1
            block /= length[:, None]
        return out

    @cached_property
    def digest(self) -> str:
        """Hex digest of parameters, words and projection: equal digests, equal vectors."""
        digest = blake2b(json.dumps([self.parameters, self.words], sort_keys=True).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.projection, dtype="<f4").data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return what a manifest should say about this model, as JSON."""
        return {"name": "tfidf", **self.parameters, "words": len(self.words), "dim": self.dim, "digest": self.digest}

    def save(self, folder: Where) -> None:
        """Write ``tfidf.json`` and ``tfidf.npy`` into `folder`, a path or a URL as text, made if missing."""
        place = shelf(folder)
        place.write_array("tfidf.npy", self.projection)
        # Last, so that a model that is there is whole.
        model = {"digest": self.digest, "parameters": self.parameters, "words": self.words}
        place.write_json("tfidf.json", model)

    @classmethod
    def load(cls, folder: Where) -> Tfidf:
        """Read what `save` wrote; an `InputError` if it is missing or was changed since."""
        place = shelf(folder)
        try:
            model = json.loads(place.read("tfidf.json") or b"")
            # Mapped, so that processes share it.
            projection = open_shard(place.file("tfidf.npy")).array()
            loaded = cls(model["words"], projection, model["parameters"])
            intact = loaded.digest == model["digest"]
        except UnfinishedError:
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no readable TF-IDF model: {error}; fit it again") from error
        if not intact:
            raise InputError(f"the TF-IDF model in {folder} is damaged: its digest differs; fit it again")
        return loaded

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words)
