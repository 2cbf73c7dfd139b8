"""Published curves with the costs of one's own sizes, by hand, and in the units of one's own metric."""

from __future__ import annotations

import pytest

from tasksift.errors import InputError
from tasksift.evaluate.priors import Sizes, prior

SIZES = Sizes(7e9, 1e9, 1000, 4e5, epochs=2, encoder_params=2e7, target_tokens=8000)


def test_costs_are_those_of_the_sizes():
    assert SIZES.full_training == 6 * 7e9 * 4e5 * 2
    costs = SIZES.selections(tuned_perplexity=True)
    assert costs["Random"] == costs["BM25"] == (0, 0)
    # 400 tokens a row, of which an encoder reads 256; 8,000 tokens are 20 target rows.
    assert costs["Embed"] == (2 * 2e7 * 256 * 1000, 2 * 2e7 * 256 * 20)
    assert costs["PPL"] == (2 * 1e9 * 4e5, 6 * 1e9 * 8000 * 25)
    assert SIZES.selections(tuned_perplexity=False)["PPL"][1] == 0


def test_scores_of_ones_own_are_the_same_curve_stretched():
    plain, loss = prior("all", SIZES), prior("all", SIZES, scores=(3.0, 2.0))
    assert (plain.higher_is_better, loss.higher_is_better) == (True, False)
    for one, other in zip(plain.methods, loss.methods, strict=True):
        assert (one.name, one.overhead, one.query) == (other.name, other.overhead, other.query)
        assert other.curve.scores == pytest.approx(one.curve.scores - 3.0)
    for scores in ((2.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="they should differ"):
            prior("all", SIZES, scores=scores)
