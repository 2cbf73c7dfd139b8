"""Losses of single tokens from the logits of one whole example, and models that are far from uniform."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_models import CHATML, make_examples, make_gpt2, make_llama, make_tokenizer

from tasksift.represent.models import CausalModel

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = make_examples()
MODELS = {"llama": make_llama, "gpt2": make_gpt2}
PLAIN_METRICS = ("loss", "perplexity", "entropy", "el2n", "tokens")


def sharp(model, scale=25.0):
    """Make a fresh model's predictions far from uniform."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    return model


def causal(kind="llama", template=CHATML, dtype=torch.float32, seed=0):
    return CausalModel(
        sharp(MODELS[kind](seed)).requires_grad_(False).to(dtype), make_tokenizer(template), {"digest": f"{kind}{seed}"}
    )


def token_by_token(model, ids, scored):
    """[nll, entropy, el2n, correct] of every scored token, from the logits of one whole example, in float64."""
    logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0].double()
    lines = []
    for t in range(1, len(ids)):
        if scored[t]:
            p = np.exp(logits[t - 1].numpy() - np.logaddexp.reduce(logits[t - 1].numpy()))
            onehot = np.eye(len(p))[ids[t]]
            entropy = -sum(x * math.log(x) for x in p if x > 0)
            lines.append([-math.log(p[ids[t]]), entropy, math.dist(p, onehot), p.argmax() == ids[t]])
    return np.array(lines, dtype=float).reshape(-1, 4)


def arrays(tokens):
    return tokens.ids, tokens.scored
