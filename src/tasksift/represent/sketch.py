"""Sketches of the output layer's gradient: what a language model would learn from an example, by a forward pass alone.

The gradient of an example's summed loss with respect to the output layer is sum_t r_t h_t^T over the scored tokens;
h_t is the vector that enters the layer and r_t = softmax(logits_t) - onehot(y_t). Logits are as the model gives them;
for a model that caps or scales them, r_t is the gradient with respect to the capped logits, and the sketch is of the
output layer's gradient without the derivative of the cap. With tied embeddings it covers the output side only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent import check_finite
from tasksift.represent.chat import ChatTokens, Score
from tasksift.represent.forward import BATCH_TOKENS, Predictions, batches, fitting, predict
from tasksift.represent.models import CausalModel
from tasksift.represent.projection import CHUNK_BYTES, DEVICE_BYTES, CountSketch
from tasksift.represent.signs import raw, sign_matrix, signs
from tasksift.rows.example import Example

Sketch = Literal["kron", "tensor"]


class HeadSketch:
    """Embeds an example as a random sketch of the output layer's gradient of its summed loss.

    Inner products of rows are unbiased estimates of inner products of these gradients, over seeds. For the published
    method, compare rows by their cosine.

    Parameters
    ----------
    causal : CausalModel
        Made by `tasksift.represent.models.load_causal`.
    sketch : str
        ``kron``: both sides are projected, P_h^T (sum_t h_t r_t^T) P_v, with +-1 matrices (d, k_h) and (vocabulary,
        k_v). The error of a cosine follows the sides, 0.3 to 0.6 / sqrt(k_v) for k_v = 2 k_h, not 1 / sqrt(dim).
        ``tensor``: per token the circular convolution of a count-sketch of h_t and one of r_t (Pham and Pagh, "Fast and
        scalable polynomial kernels via explicit feature maps", KDD 2013). The error is about 1 / sqrt(dim).
    hidden_dims, vocabulary_dims : int
        The sides k_h and k_v; `dim` is their product for both sketches.
    seed : int
    max_length : int
        Tokens of an example at most, cut as `tasksift.represent.chat.ChatTokens` does.
    score : str
        ``response``: tokens of answers; ``text``: all.
    batch_tokens : int
        Tokens of a batch, padding included. It changes the speed, and numbers in their last bits only.

    Attributes
    ----------
    dim : int
        k_h * k_v.
    identity : dict
        Digests of model, tokens and random matrices, the sketch, its sizes and seed, and the precision.

    Raises
    ------
    InputError
        If there is no such sketch, or a size, the tokenizer or `max_length` does not serve.

    Notes
    -----
    Cost: one forward pass, and for every scored token 2 * vocabulary * k_v operations (kron), or two FFTs of `dim` and
    one pass over the vocabulary (tensor). Neither vocabulary * d numbers nor a second copy of all logits is held.
    """

    def __init__(
        self,
        causal: CausalModel,
        *,
        sketch: Sketch = "tensor",
        hidden_dims: int = 64,
        vocabulary_dims: int = 128,
        seed: int = 0,
        max_length: int = 2048,
        score: Score = "response",
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        kinds: dict[str, type[_Kron] | type[_Tensor]] = {"kron": _Kron, "tensor": _Tensor}
        if sketch not in kinds:
            raise InputError(f"--sketch {sketch} does not exist; use one of {', '.join(kinds)}")
        if min(hidden_dims, vocabulary_dims) < 1:
            raise InputError(f"the sketch needs sizes of at least 1, not {hidden_dims} x {vocabulary_dims}")
        self.causal = causal
        vocabulary, width = causal.model.get_output_embeddings().weight.shape
        self._batch_tokens = fitting(causal.model, batch_tokens)
        self._tokens = ChatTokens(causal.tokenizer, max_length, score=score)
        self._sketch = kinds[sketch](width, vocabulary, hidden_dims, vocabulary_dims, seed, causal.model.device)
        self.dim = hidden_dims * vocabulary_dims
        self.identity: Mapping[str, Any] = {
            "model": causal.identity,
            "tokens": self._tokens.identity,
            "sketch": {
                "type": sketch,
                "hidden_dims": hidden_dims,
                "vocabulary_dims": vocabulary_dims,
                "seed": seed,
                "digest": self._sketch.digest,
            },
            "dtype": causal.precision,
        }

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim), not scaled to unit length; zeros for an example without scored tokens.

        Raises
        ------
        InputError
            If the chat template refuses an example, or the model gives numbers that are not finite.
        """
        import torch

        out = np.zeros((len(examples), self.dim), dtype=np.float32)
        tokens = [self._tokens.encode(example) for example in examples]
        some = np.array([k for k, each in enumerate(tokens) if each.scored.any()], dtype=np.int64)
        kept = [tokens[k] for k in some]
        for batch in batches(kept, device=self.causal.model.device, batch_tokens=self._batch_tokens):
            with torch.no_grad():
                rows = self._sketch(predict(self.causal.model, batch), len(batch.rows))
            out[some[batch.rows]] = rows.cpu().numpy()
        check_finite(out, examples, "the model's predictions are")
        return out


class _Kron:
    def __init__(self, width: int, vocabulary: int, k_h: int, k_v: int, seed: int, device: Any) -> None:
        self._left = sign_matrix(width, k_h, k_h, device, seed, "kron", "hidden")
        self._right = sign_matrix(vocabulary, k_v, k_v, device, seed, "kron", "vocabulary")
        self.digest = _digest(self._left, self._right)

    def __call__(self, seen: Predictions, count: int) -> Any:
        import torch

        left = seen.hidden.float() @ self._left
        steps = range(0, len(seen.labels), step := _step(seen.logits, seen.logits.shape[1]))
        right = torch.cat([_errors(seen, at, at + step) @ self._right for at in steps])
        # Tokens of an example side by side, so that one product serves all examples.
        lengths = torch.bincount(seen.owner, minlength=count)
        place = torch.arange(len(seen.owner), device=left.device) - (lengths.cumsum(0) - lengths)[seen.owner]
        padded = [side.new_zeros(count, int(lengths.max()), side.shape[1]) for side in (left, right)]
        for side, whole in zip((left, right), padded, strict=True):
            whole[seen.owner, place] = side
        return (padded[0].mT @ padded[1]).flatten(1)


class _Tensor:
    """Buckets on the hidden side are a random permutation: any two differ by any distance alike.

    So two pairs of coordinates meet with probability 1/dim, although the vocabulary's buckets are runs.
    """

    def __init__(self, width: int, vocabulary: int, k_h: int, k_v: int, seed: int, device: Any) -> None:
        import torch

        self._dim = k_h * k_v
        self._vocabulary = CountSketch({"vocabulary": (vocabulary,)}, self._dim, seed, device)
        orders = raw(-(-width // self._dim) * self._dim, seed, "tensor", "buckets").reshape(-1, self._dim)
        buckets = np.argsort(orders, axis=1, kind="stable").reshape(-1)[:width]
        self._buckets = torch.from_numpy(buckets).to(device)
        self._signs = torch.from_numpy(signs(width, seed, "tensor", "hidden")).to(device)
        self.digest = _digest(self._buckets, self._signs, *self._vocabulary.drawn("vocabulary"))

    def __call__(self, seen: Predictions, count: int) -> Any:
        import torch

        total = torch.zeros(count, self._dim // 2 + 1, dtype=torch.complex64, device=seen.hidden.device)
        owners = seen.owner.cpu().numpy()
        step = _step(seen.logits, max(seen.logits.shape[1], self._dim))
        for at in range(0, len(owners), step):
            error = _errors(seen, at, at + step)
            left, right = error.new_zeros(2, len(error), self._dim)
            self._vocabulary.add(right, "vocabulary", error)
            signed = seen.hidden[at : at + step].float() * self._signs
            for first in range(0, signed.shape[1], self._dim):
                # Within a block no two coordinates share a bucket, so this adds all of them.
                left[:, self._buckets[first : first + self._dim]] += signed[:, first : first + self._dim]
            # A convolution is a product of Fourier transforms; summed there, an example needs one transform back.
            product = torch.fft.rfft(left) * torch.fft.rfft(right)
            mine, begins = np.unique(owners[at : at + step], return_index=True)
            for k, begin, end in zip(mine, begins, [*begins[1:], len(error)], strict=True):
                total[k] += product[begin:end].sum(0)
        return torch.fft.irfft(total, n=self._dim)


def _errors(seen: Predictions, begin: int, end: int) -> Any:
    """Softmax minus one-hot label, float32 (end - begin, vocabulary)."""
    import torch

    errors = torch.softmax(seen.logits[begin:end], dim=1, dtype=torch.float32)
    errors[torch.arange(len(errors), device=errors.device), seen.labels[begin:end]] -= 1
    return errors


def _step(logits: Any, width: int) -> int:
    """Tokens at a time."""
    budget = CHUNK_BYTES if logits.device.type == "cpu" else DEVICE_BYTES
    return max(1, budget // (4 * width))


def _digest(*parts: Any) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        array = np.asarray(part if isinstance(part, np.ndarray) else part.cpu().numpy())
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
