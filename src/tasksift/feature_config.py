"""The part of a configuration that says what is computed for each row."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasksift.checked import Checked

Text = Annotated[str, BeforeValidator(lambda value: str(value) if hasattr(value, "__fspath__") else value)]


TARGET_SIDE = frozenset({"target_prompt", "target_objective", "beta"})
"""Fields that say what is computed for targets; the pool's vectors are the same whatever they say."""


class FeatureConfig(Checked):
    """How rows become vectors. Which fields a representation takes is said in `tasksift.represent.REPRESENTATIONS`."""

    representation: str | None = None
    """What is computed for each row: tfidf, encoder, endpoint, hidden, loss, gradient or sketch; by default what the
    preset's paper uses."""
    text_template: str | None = None
    r"""How a row becomes text, such as '{question}\n{answer}', where the layout is not found by itself."""
    source_column: str | None = None
    """Column that names each row's source; by default `source` where it exists, else the file's name."""
    dim: int | None = Field(default=None, ge=1)
    """Dimensions: of tfidf (256); of gradient at each checkpoint (4096); of sketch (8192); for endpoint what the server
    is asked for."""
    store_dtype: Literal["float32", "float16"] = "float32"
    """What the vectors are kept in: float32 or float16."""
    model: Text | None = None
    """Folder or hub name: of a sentence-transformers or model2vec model (encoder), of a causal language model (hidden,
    loss, gradient, sketch); for endpoint the server's name for the model."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    """Let code that comes with the model run."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda, cuda:1."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model's weights are held and multiplied in: float32 or bfloat16."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens of a row at most; by default what the model takes, a causal one 2048 at most."""
    prompt: str | None = None
    """What encoder sets before every text, such as 'passage: '; by default the model's own, '' for none."""
    target_prompt: str | None = None
    """The same for the targets; by default that of the pool."""
    score: Literal["response", "text"] = "response"
    """Which tokens' losses count: response (those of the answers) or text (all)."""
    weighting: Literal["position", "mean", "last"] = "position"
    """How hidden weighs the tokens: position (RDS+), mean (alike) or last (the last only)."""
    stride: int | None = Field(default=None, ge=1)
    """Rows longer than --max-length are not cut by loss but seen in windows that begin so many tokens apart."""
    metrics: str = "loss,perplexity,entropy,el2n"
    """What loss computes: any of loss, perplexity, entropy, el2n, tokens, ifd, forgetting."""
    sketch: Literal["tensor", "kron"] = "tensor"
    """How sketch mixes the two sides of the output layer's gradient: tensor is more accurate at equal size, kron is as
    published."""
    checkpoints: Text | None = None
    """Folder that `tasksift tune` wrote, or several by commas, of tunes of one model: loss and gradient then look at
    each of their checkpoints."""
    url: str | None = None
    """Where an OpenAI-compatible server answers, such as http://localhost:8000/v1."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at a time."""
    requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests in a minute at most."""
    tokens_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Tokens in a minute at most, as the server counts them."""
    max_characters: int | None = Field(default=None, ge=1)
    """Characters of a text at most; the rest is not sent."""
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Seconds without a byte from the server after which a request is sent again."""
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Price of a million tokens, to show the cost."""
    params: str | None = None
    """Which parameters gradients are of: lora, linear (weights of linear layers inside the blocks), all, or a regular
    expression; by default lora where there are adapters, else linear."""
    objective: Literal["sft", "margin", "dpo"] = "sft"
    """What gradients are of: sft (the loss) or margin (TRAK)."""
    target_objective: Literal["sft", "margin", "dpo"] | None = None
    """The same for the targets, or dpo (preference pairs), which makes LESS to ROSE; by default that of the pool."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly dpo holds on to the model before the tune."""
    optimizer: Literal["adam", "sgd"] | None = None
    """adam: the pool's gradients become the steps that Adam would take; sgd: they stay; by default adam with
    --checkpoints."""
    momentum: Literal["paper", "none", "centred"] = "paper"
    """Adam's momentum: paper keeps what all rows share, none leaves it out, centred takes the pool's mean away."""
    less_compat: bool = False
    """Adam's step as the published code of LESS has it (the constant inside the root), for parity only."""
    projection: Literal["count-sketch", "rademacher", "factored", "none"] = "count-sketch"
    """How gradients are brought to --dim numbers: count-sketch, rademacher, factored; or none."""
    combine: Literal["concat", "mean", "separate"] = "concat"
    """Several checkpoints: concat (side by side, weighted so that a cosine is LESS's sum over them), mean (TAROT) or
    separate (each as it is, with what it is the gradient of: TRAK, GradEx)."""

    def feature_options(self) -> dict[str, Any]:
        """Return the fields that make a pool's vectors, as JSON: what a folder of features knows."""
        return self.model_dump(include=FeatureConfig.model_fields.keys() - TARGET_SIDE, mode="json")
