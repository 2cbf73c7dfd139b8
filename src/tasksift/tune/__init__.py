"""Training a causal model: the warm-up that gradients need, and what evaluation trains with."""

from tasksift.represent.checkpoints import Checkpoint, Tuned, read_tuned
from tasksift.tune.data import sampled
from tasksift.tune.folder import tune, tune_rows
from tasksift.tune.keeping import Step
from tasksift.tune.settings import Settings
from tasksift.tune.training import Trained, finetune, total_steps

__all__ = [
    "Checkpoint",
    "Settings",
    "Step",
    "Trained",
    "Tuned",
    "finetune",
    "read_tuned",
    "sampled",
    "total_steps",
    "tune",
    "tune_rows",
]
