"""The hand-over to trainers: a pool split by domain, with shares, as a folder that a trainer takes as it is."""

from tasksift.mix.mixing import FORMATS, Mix, mix
from tasksift.mix.shares import find_shares

__all__ = ["FORMATS", "Mix", "find_shares", "mix"]
