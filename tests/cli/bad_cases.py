"""What can be wrong with a request or its data, by subject."""

from __future__ import annotations

from bad_cases_files import POOLS, TARGETS, VECTORS
from bad_cases_methods import METHODS
from bad_cases_options import BUDGETS, OPTIONS, OUTPUTS

MENDED_BY_FORCE = ("run-folder-exists", "features-of-npy")

CASES = [*POOLS, *VECTORS, *TARGETS, *BUDGETS, *OPTIONS, *METHODS, *OUTPUTS]
