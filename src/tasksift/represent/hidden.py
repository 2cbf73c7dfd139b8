"""Weighted means of a language model's last hidden states: RDS+.

Ivison, Zhang, Brahman, Koh and Dasigi, "Large-Scale Data Selection for Instruction Tuning", arXiv 2503.01807, 2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.represent import check_finite
from tasksift.represent.chat import ChatTokens
from tasksift.represent.forward import BATCH_TOKENS, Batch, batches
from tasksift.represent.models import CausalModel
from tasksift.rows.example import Example

Weighting = Literal["position", "mean", "last"]

WEIGHTINGS: tuple[Weighting, ...] = ("position", "mean", "last")


class HiddenStates:
    """Embeds an example as a weighted mean of the hidden states of all its tokens.

    e = sum_i w_i h_i over the tokens i = 1..L of the whole example under the chat template, prompt and answer; h_i is
    the vector that enters the output layer, after the final norm.

    Parameters
    ----------
    causal : CausalModel
        Made by `tasksift.represent.models.load_causal`.
    max_length : int
        Tokens of an example at most; of a longer one the beginning is kept.
    batch_tokens : int
        Tokens of a batch, padding included. It changes the speed, and numbers in their last bits only.
    weighting : str
        ``position``: w_i = i / (1 + ... + L), RDS+; ``mean``: w_i = 1 / L; ``last``: the last token alone.

    Attributes
    ----------
    dim : int
        The width of the model.
    identity : dict
        Digests of model and tokens, the weighting and the precision.

    Raises
    ------
    InputError
        If there is no such weighting, or the tokenizer or `max_length` does not serve.

    Notes
    -----
    Cost: one forward pass without the output layer, 2 * parameters * tokens operations.
    """

    def __init__(
        self,
        causal: CausalModel,
        *,
        max_length: int,
        batch_tokens: int = BATCH_TOKENS,
        weighting: Weighting = "position",
    ) -> None:
        if weighting not in WEIGHTINGS:
            raise InputError(f"--weighting {weighting} does not exist; use one of {', '.join(WEIGHTINGS)}")
        self.causal, self._batch_tokens, self._weighting = causal, batch_tokens, weighting
        self._tokens = ChatTokens(causal.tokenizer, max_length, score="text")
        self.dim = int(causal.model.config.get_text_config().hidden_size)
        self.identity: Mapping[str, Any] = {
            "model": causal.identity,
            "tokens": self._tokens.identity,
            "weighting": weighting,
            "dtype": causal.precision,
        }

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim), not scaled to unit length; zeros for an example without tokens.

        Raises
        ------
        InputError
            If the chat template refuses an example, or the model gives numbers that are not finite.
        """
        import torch

        out = np.zeros((len(examples), self.dim), dtype=np.float32)
        tokens = [self._tokens.encode(example) for example in examples]
        for batch in batches(tokens, device=self.causal.model.device, batch_tokens=self._batch_tokens):
            with torch.no_grad():
                hidden = last_hidden(self.causal.model, batch).float()
                means = torch.bmm(weights(batch.mask, self._weighting)[:, None], hidden)[:, 0]
            out[batch.rows] = means.cpu().numpy()
        check_finite(out, examples, "the model's hidden states are")
        return out


def weights(mask: Any, weighting: Weighting) -> Any:
    """Return float32 (b, t): rows that sum to 1, with 0 on the padding, for a mask (b, t) padded on the right."""
    import torch

    place = mask.cumsum(1) * mask
    if weighting == "last":
        return (place == place.amax(1, keepdim=True)).to(torch.float32)
    raw = (place if weighting == "position" else mask).double()
    return (raw / raw.sum(1, keepdim=True)).float()


def last_hidden(model: Any, batch: Batch) -> Any:
    """Return the vectors (b, t, d) that enter the output layer, which itself sees one token of each example only.

    Asked of the output layer's input, so that the final norm and whatever else a model does before it are included.
    """
    seen: list[Any] = []

    def narrow(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(inputs[0])
        return (inputs[0][:, -1:], *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(narrow)
    try:
        model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    finally:
        handle.remove()
    return seen[0]
