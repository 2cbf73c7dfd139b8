"""Forgetting events, which need no model."""

import numpy as np

from tasksift.represent.loss import forgetting


def test_forgetting_counts_what_was_right_and_is_wrong_next():
    history = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]], dtype=bool)
    assert forgetting(history) == (2 + 0 + 1 + 0) / 4
    assert forgetting(history[:1]) == 0
    assert forgetting(history[:, :0]) == 0
    expected = sum(
        bool(history[c, t] and not history[c + 1, t]) for c in range(len(history) - 1) for t in range(history.shape[1])
    )
    assert forgetting(history) == expected / 4
