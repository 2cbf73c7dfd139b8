"""Numbers and lists as sentences have them; whole sentences are tested with `tasksift plan`."""

from tasksift.evaluate.names import GAIN
from tasksift.evaluate.plan_words import listed, score_text, share_text


def test_numbers_and_lists():
    assert [share_text(share) for share in (0.0004, 0.025, 0.099, 0.1, 0.256, 1.0)] == [
        "0.04 %", "2.5 %", "9.9 %", "10 %", "26 %", "100 %"
    ]  # fmt: skip
    assert (score_text(GAIN, 0.654), score_text("loss", 1.23456)) == ("65 %", "1.235")
    assert [listed(names) for names in (["a"], ["a", "b"], "abc")] == ["a", "a and b", "a, b and c"]
