"""The representation that needs no download: TF-IDF of words and word pairs, reduced by a truncated SVD.

Also known as latent semantic analysis: Deerwester et al., "Indexing by latent semantic analysis", JASIS 41(6), 1990;
the SVD is the randomised one of Halko, Martinsson and Tropp, SIAM Review 53(2), 2011, algorithms 4.4 and 5.1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from tasksift.errors import InputError
from tasksift.represent.store import replace_array, replace_json

# Jamo, kana, ideographs, hangul and half-width forms: scripts that put no spaces between words.
_UNSPACED = (
    "\u1100-\u11ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]"
"""What counts as a word: a run of letters, digits and underscores; a character of a script that does not separate
words; any other visible character. Symbols count because formats, formulas and code are made of them."""

TOKENS = "words, symbols and their pairs (1)"
"""The name of these rules, part of a model's digest; a change of the rules changes the name."""

BLOCK_TEXTS = 1024
"""How many texts `Tfidf.transform` counts at a time."""
_NO_LENGTH = 1e-6
_RANK = 1e-4


@dataclass(frozen=True, eq=False)
class Tfidf:
    """A fitted TF-IDF and SVD; made by `fit` or `Tfidf.load`.

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
                counts = self._vectorizer.transform(texts[start : start + BLOCK_TEXTS])
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
        digest.update(self.projection.astype("<f4").tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return what a manifest should say about this model, as JSON."""
        return {"name": "tfidf", **self.parameters, "words": len(self.words), "dim": self.dim, "digest": self.digest}

    def save(self, folder: str | Path) -> None:
        """Write ``tfidf.json`` and ``tfidf.npy`` into `folder`, made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        replace_array(folder / "tfidf.npy", self.projection)
        # Last, so that a model that is there is whole.
        model = {"digest": self.digest, "parameters": self.parameters, "words": self.words}
        replace_json(folder / "tfidf.json", model)

    @classmethod
    def load(cls, folder: str | Path) -> Tfidf:
        """Read what `save` wrote; an `InputError` if it is missing or was changed since."""
        folder = Path(folder)
        try:
            model = json.loads((folder / "tfidf.json").read_bytes())
            projection = np.load(folder / "tfidf.npy", allow_pickle=False)
            loaded = cls(model["words"], projection, model["parameters"])
            intact = loaded.digest == model["digest"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no readable TF-IDF model: {error}; fit it again") from error
        if not intact:
            raise InputError(f"the TF-IDF model in {folder} is damaged: its digest differs; fit it again")
        return loaded

    @cached_property
    def _vectorizer(self) -> CountVectorizer:
        return _counter(vocabulary=self.words, dtype=np.float32)


def fit(texts: Iterable[str], *, dim: int = 256, seed: int = 0, vocabulary: int = 50_000, iterations: int = 4) -> Tfidf:
    """Fit a TF-IDF and its SVD on texts, usually a sample of the pool.

    Parameters
    ----------
    texts : iterable of str
        Copies and order do not matter.
    dim : int
        Dimensions kept; fewer if the texts have no more words, or span no more dimensions, than that.
    seed : int
        Seed of the randomised SVD.
    vocabulary : int
        How many words and word pairs count: those in the most texts.
    iterations : int
        Power iterations of the SVD.

    Returns
    -------
    Tfidf
        The same bits for the same texts and parameters, whatever the number of threads.

    Raises
    ------
    InputError
        If there are no texts, or `dim` or `vocabulary` is less than 1.

    Notes
    -----
    Weights are (1 + ln count) * (1 + ln((1 + n) / (1 + texts with the word))), rows scaled to unit length. Cost: time
    O(words of the texts * dim * iterations), about 10 seconds for 20,000 texts of 500 characters; memory about 150
    bytes for each distinct word pair of the texts.
    """
    if dim < 1 or vocabulary < 1:
        raise InputError(f"a TF-IDF needs at least 1 dimension and 1 word, not dim={dim}, vocabulary={vocabulary}")
    distinct = sorted(set(texts))
    if not distinct:
        raise InputError("a TF-IDF needs at least one text to be fitted on")
    words = _frequent(distinct, vocabulary)
    if words:
        counts = _counter(vocabulary=words, dtype=np.float32).transform(distinct)
        projection = _project(counts, dim, seed, iterations)
    else:
        projection = np.zeros((0, 0), dtype=np.float32)
    parameters = {
        "dim_asked": dim,
        "seed": seed,
        "vocabulary": vocabulary,
        "iterations": iterations,
        "tokens": TOKENS,
        "texts": len(distinct),
    }
    return Tfidf(words, projection, parameters)


def _frequent(texts: list[str], limit: int) -> list[str]:
    """Return the `limit` words and word pairs that occur in the most texts, ties by spelling; sorted."""
    analyze = _counter().build_analyzer()
    frequency: Counter[str] = Counter()
    for text in texts:
        frequency.update(set(analyze(text)))
    return sorted(nsmallest(limit, frequency, key=lambda word: (-frequency[word], word)))


def _project(counts: sparse.csr_matrix, dim: int, seed: int, iterations: int) -> NDArray[np.float32]:
    weigh = TfidfTransformer(sublinear_tf=True).fit(counts)
    idf = weigh.idf_.astype(np.float32)
    n_texts, n_words = counts.shape
    if n_words <= dim:
        return np.diag(idf)  # nothing to reduce: the TF-IDF vectors themselves
    with threadpool_limits(1):  # sums in BLAS depend on the number of threads
        _, singular, right = randomized_svd(
            weigh.transform(counts), min(dim, n_texts), n_iter=iterations, random_state=seed
        )
    # Directions in which the texts do not extend are noise of the solver, and would be noise in other texts' vectors.
    right = right[singular > _RANK * singular[0]]
    return np.ascontiguousarray((right * idf).T, dtype=np.float32)


def _counter(**options: Any) -> CountVectorizer:
    # `preprocessor` and not `lowercase`, which warns of letters that have no lower case, such as a bold 𝐀.
    return CountVectorizer(token_pattern=TOKEN, ngram_range=(1, 2), lowercase=False, preprocessor=str.lower, **options)
