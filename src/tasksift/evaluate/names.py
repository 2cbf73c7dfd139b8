"""The metrics of a comparison, the arms that every comparison has, and how many seeds a verdict takes."""

HIGHER_IS_BETTER = {"loss": False, "accuracy": True, "exact-match": True}
"""The metrics: loss in nats per response token, and shares of held-out rows that are right."""

GAIN = "share of the gain"
"""The metric of published panels taken together: 0 is where random draws start from, 1 training on everything."""

ZERO_SHOT, FULL, RANDOM, BALANCED = "zero-shot", "full", "random", "random-balanced"
"""The arms of every comparison: the model as it is, the whole pool, and draws that look at no target."""

BASELINES = (ZERO_SHOT, RANDOM, BALANCED, FULL)

SEEDS = 3
"""Seeds of each arm below which no verdict is given."""
