"""Presets: a paper's method under its name, as a representation, a selector, its parameters and its citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasksift.errors import InputError


@dataclass(frozen=True)
class Preset:
    """One published method.

    Attributes
    ----------
    selector : str
        Name in `tasksift.selectors.SELECTORS`.
    representation : str or None
        What it looks at by default; None when it looks at nothing.
    summary, needs, cost, paper : str
        One line each, for people.
    parameters : mapping
        What differs from the selector's defaults.
    scores : str or None
        Numbers of each row that it looks at besides: metrics of the representation ``loss``, by commas. The user may
        name a column of the pool instead.
    options : mapping
        Options of the representation that differ from its defaults.
    warm_up : bool
        Whether the model is tuned on a part of the pool first, unless the user brings checkpoints.
    """

    selector: str
    representation: str | None
    summary: str
    needs: str
    cost: str
    paper: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scores: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    warm_up: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain data."""
        return {**asdict(self), "parameters": dict(self.parameters), "options": dict(self.options)}


_TSDS = (
    "Liu, Karbasi, Rekatsinas. TSDS: Data Selection for Task-Specific Model Finetuning. NeurIPS 2024. arXiv 2410.11303"
)
_ROUND_ROBIN = (
    "Ivison, Zhang, Brahman, Koh, Dasigi. Large-Scale Data Selection for Instruction Tuning. 2025. arXiv 2503.01807"
)
_TAROT = "Feng, Nie, Liu, Alahi. TAROT: Targeted Data Selection via Optimal Transport. ICML 2025. arXiv 2412.00420"
_PERPLEXITY = "Marion, Üstün, Pozzobon, Wang, Fadaee, Hooker. When Less is More. 2023. arXiv 2309.04564"
_GRADEX = (
    "Li, Zhang, Wang, Zhang. Scalable Fine-tuning from Multiple Data Sources: A First-Order Approximation Approach. "
    "Findings of EMNLP 2024. arXiv 2409.19458"
)
_MARGINS = {"objective": "margin", "combine": "separate", "optimizer": "sgd", "dim": 256}
_EMBED = "text, or vectors of your own"
_SEARCH = "one pass over the vectors (2·targets·rows·dims operations)"
_DSIR = (
    "Xie, Santurkar, Ma, Liang. Data Selection for Language Models via Importance Resampling. NeurIPS 2023. "
    "arXiv 2302.03169"
)
_BM25 = (
    "Robertson, Walker, Jones, Hancock-Beaulieu, Gatford. Okapi at TREC-3. 1994. For selection: Yin, Rush. "
    "Compute-Constrained Data Selection. ICLR 2025. arXiv 2410.16208"
)

PRESETS: dict[str, Preset] = {
    "tsds": Preset(
        "tsds",
        "tfidf",
        "optimal transport from the targets, spread out, near-duplicates share one place (KNN-KDE)",
        _EMBED,
        f"{_SEARCH}, and one more for the densities of the rows reached",
        _TSDS,
    ),
    "tsds-uniform": Preset(
        "tsds",
        "tfidf",
        "the same without densities: every distinct row counts alike (KNN-Uniform)",
        _EMBED,
        _SEARCH,
        _TSDS,
        {"sigma": 0.0},
    ),
    "nearest": Preset("nearest", "tfidf", "the rows most similar to any target", _EMBED, _SEARCH, "baseline"),
    "nearest-mean": Preset(
        "nearest",
        "tfidf",
        "the rows with the largest mean similarity to all targets",
        _EMBED,
        "one pass over the vectors (2·rows·dims operations)",
        "baseline",
        {"aggregate": "mean"},
    ),
    "round-robin": Preset(
        "round-robin",
        "tfidf",
        "targets take turns, each picking its nearest free row (the paper's Algorithm 1)",
        _EMBED,
        _SEARCH,
        _ROUND_ROBIN,
    ),
    "round-robin-skip": Preset(
        "round-robin",
        "tfidf",
        "the same, but a target whose row is taken loses its turn (the released code)",
        _EMBED,
        _SEARCH,
        _ROUND_ROBIN,
        {"tie": "skip"},
    ),
    "random": Preset("random", None, "every row with the same chance", "nothing", "none", "baseline"),
    "random-balanced": Preset(
        "random",
        None,
        "every source with the same chance",
        "the source of each row",
        "none",
        "baseline",
        {"balanced": True},
    ),
    "less": Preset(
        "less",
        "gradient",
        "the rows on which a step of Adam would lower the loss of some task the most",
        "a causal language model, or its checkpoints from tasksift tune; targets with answers",
        "checkpoints·4·parameters·tokens operations a row, after training on 5 % of the rows",
        "Xia, Malladi, Gururangan, Arora, Chen. LESS: Selecting Influential Data for Targeted Instruction Tuning. "
        "ICML 2024. arXiv 2402.04333",
        options={"optimizer": "adam"},
        warm_up=True,
    ),
    "rose": Preset(
        "less",
        "gradient",
        "the same for preferences: the rows that pull the model to the chosen answers of the targets",
        "a causal language model, or its checkpoints from tasksift tune; targets with a chosen and a rejected answer",
        "as less",
        "Wu, Zhang, Jiao, Ma, Liu, Yu, Zhang, Yu, Xu. ROSE: A Reward-Oriented Data Selection Framework for LLM "
        "Task-Specific Instruction Tuning. Findings of EMNLP 2025. arXiv 2412.00631",
        options={"optimizer": "adam", "target_objective": "dpo"},
        warm_up=True,
    ),
    "rds+": Preset(
        "round-robin",
        "hidden",
        "tasks take turns, each picking the row nearest to any of its targets, by a language model's hidden states",
        "a causal language model",
        f"2·parameters·tokens operations a row, and {_SEARCH}",
        _ROUND_ROBIN,
        {"turns": "tasks"},
    ),
    "dsdm": Preset(
        "dsdm",
        "gradient",
        "the rows of the lowest estimated target loss, by datamodels from gradients of margins (TRAK)",
        "a causal language model, better several checkpoints of it, targets with answers",
        "models·6·parameters·tokens operations a row, and models·rows·dims² for the kernels",
        "Engstrom, Feldmann, Madry. DsDm: Model-Aware Dataset Selection with Datamodels. ICML 2024. arXiv 2401.12926; "
        "Park, Georgiev, Ilyas, Leclerc, Madry. TRAK: Attributing Model Behavior at Scale. ICML 2023. arXiv 2303.14186",
        options={"objective": "margin", "combine": "separate", "optimizer": "sgd"},
    ),
    "tarot": Preset(
        "tarot",
        "gradient",
        "the rows around the targets by the cosine of whitened gradients; can estimate how many",
        "text and a model, best warmed up and at several checkpoints",
        "4·rows·dims² operations to whiten, one search (2·targets·rows·dims), then transports from tens of rows",
        _TAROT,
        options={"optimizer": "sgd", "combine": "mean"},
    ),
    "tarot-weighted": Preset(
        "tarot-weighted",
        "gradient",
        "the same rows, each several times, by the potentials of the transport to the targets",
        "text and a model, best warmed up and at several checkpoints",
        "as tarot, and one transport between the rows and the targets",
        _TAROT,
        options={"optimizer": "sgd", "combine": "mean"},
    ),
    "perplexity-lowest": Preset(
        "scalar",
        None,
        "the rows that a language model predicts best",
        "a causal language model, or a column with its perplexities",
        "2·parameters·tokens operations a row",
        _PERPLEXITY,
        {"direction": "lowest"},
        scores="perplexity",
    ),
    "perplexity-middle": Preset(
        "scalar",
        None,
        "the rows around the pool's median perplexity, by rank",
        "a causal language model, or a column with its perplexities",
        "2·parameters·tokens operations a row",
        _PERPLEXITY,
        {"direction": "middle"},
        scores="perplexity",
    ),
    "perplexity-highest": Preset(
        "scalar",
        None,
        "the rows that a language model predicts worst",
        "a causal language model, or a column with its perplexities",
        "2·parameters·tokens operations a row",
        _PERPLEXITY,
        {"direction": "highest"},
        scores="perplexity",
    ),
    "column": Preset(
        "scalar",
        None,
        "the rows with the highest number in a column of the pool",
        "a column with a number of each row (--score-column)",
        "one sort",
        "baseline",
        {"metric": "score"},
    ),
    "bws": Preset(
        "bws",
        "hidden",
        "the window of difficulty whose rows explain the targets best, or tell classes apart, by a ridge regression",
        "a causal language model; targets, or a column of classes, or clusters; another difficulty in a column",
        "2·parameters·tokens operations a row for features and losses, then rows·dims²",
        "Choi, Ki, Chung. BWS: Best Window Selection Based on Sample Scores for Data Pruning across Broad Ranges. "
        "ICML 2024. arXiv 2406.03057",
        scores="loss",
    ),
    "dsir": Preset(
        "dsir",
        None,
        "drawn by how much likelier a row's n-grams are in the targets than in the pool",
        "text",
        "two passes over the texts, together about 2 MB a second on one core",
        _DSIR,
    ),
    "dsir-equal": Preset(
        "dsir",
        None,
        "the same as if all rows were of one length",
        "text",
        "two passes over the texts, together about 2 MB a second on one core",
        _DSIR,
        {"normalize": "equal"},
    ),
    "bm25": Preset(
        "bm25",
        None,
        "the rows with the largest mean BM25 score over all targets: shared words, rare ones counting more",
        "text",
        "one pass over the texts, about 10 MB a second on one core",
        _BM25,
    ),
    "bm25-turns": Preset(
        "bm25",
        None,
        "targets take turns, each picking its free row of the largest BM25 score",
        "text",
        "one pass over the texts, then two operations for each word of a row and each target that holds it",
        _BM25,
        {"aggregate": "turns"},
    ),
    "adapt-infinity": Preset(
        "adapt-infinity",
        "hidden",
        "all clusters alike, and in each rows from the whole range of the score that spreads it most; needs no target",
        "a causal language model, or vectors and columns of scores",
        "4·parameters·tokens operations a row, k-means, and a sort",
        "Maharana, Yoon, Chen, Bansal. Adapt-∞: Scalable Continual Multimodal Instruction Tuning via Dynamic Data "
        "Selection. ICLR 2025. arXiv 2410.10636",
        {"scorers": "perplexity,el2n,entropy"},
        scores="perplexity,el2n,entropy",
    ),
    "gradex": Preset(
        "gradex",
        "gradient",
        "the groups that help the targets, by estimates of fine-tuning on random halves of the groups",
        "a causal language model, targets with answers; groups from a column, or clusters of gradients",
        "4·parameters·tokens operations a row, then about 4·sampled rows·dims² for each of the estimates",
        _GRADEX,
        options=_MARGINS,
    ),
    "gradex-forward": Preset(
        "gradex",
        "gradient",
        "the same, adding the group with the largest estimated gain until none helps",
        "as gradex",
        "as gradex, with up to groups²/2 estimates",
        _GRADEX,
        {"way": "forward"},
        options=_MARGINS,
    ),
    "facility-location": Preset(
        "facility-location",
        "tfidf",
        "rows that together resemble the whole pool most, picked greedily; needs no target",
        _EMBED,
        "2·rows²·dims operations for the neighbours of every row",
        "Wei, Iyer, Bilmes. Submodularity in Data Subset Selection and Active Learning. ICML 2015",
    ),
    "facility-location-mi": Preset(
        "facility-location-mi",
        "tfidf",
        "rows that together resemble the surroundings of the targets most (FLMI)",
        _EMBED,
        "as nearest, then 2·(64·targets)·rows·dims operations for the neighbours of the rows near targets",
        "Kothawade, Kaushal, Ramakrishnan, Bilmes, Iyer. PRISM: A Rich Class of Parameterized Submodular Information "
        "Measures for Guided Subset Selection. AAAI 2022. arXiv 2103.00128",
    ),
}


def get_preset(name: str) -> Preset:
    """Return a preset by name, or say which exist."""
    if name not in PRESETS:
        raise InputError(f"--preset {name} does not exist; use one of {', '.join(PRESETS)}")
    return PRESETS[name]
