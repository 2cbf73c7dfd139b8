"""From a plan and a budget to rows: exact counts, seeded, with limits per source."""

from tasksift.draw.budget import Budget, parse_limit
from tasksift.draw.drawing import draw
from tasksift.draw.lot import Drawn
from tasksift.draw.tokens import rows_for_tokens

__all__ = ["Budget", "Drawn", "draw", "parse_limit", "rows_for_tokens"]
