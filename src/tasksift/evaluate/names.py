"""The metrics of a comparison and the arms that every comparison has."""

HIGHER_IS_BETTER = {"loss": False, "accuracy": True, "exact-match": True}
"""The metrics: loss in nats per response token, and shares of held-out rows that are right."""

ZERO_SHOT, FULL, RANDOM, BALANCED = "zero-shot", "full", "random", "random-balanced"
"""The arms of every comparison: the model as it is, the whole pool, and draws that look at no target."""

BASELINES = (ZERO_SHOT, RANDOM, BALANCED, FULL)
