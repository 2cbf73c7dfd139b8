"""Labels: numbered in order, and what is not labelled data."""

import pytest

from tasksift.errors import InputError
from tasksift.evaluate.labels import label_set


def test_labels():
    found = label_set(["b ", "a", "b", " c\n"], ["a", "é"])
    assert found == {"a": 0, "b": 1, "c": 2, "é": 3}
    assert list(found) == sorted(found)
    assert label_set(map(str, range(5)), ["4"], most=5).keys() == set("01234")


@pytest.mark.parametrize(
    ("pool", "target", "words"),
    [
        (["a", " "], ["b"], "row 1 of the pool has no response, so no label; fill it"),
        (["a", "b"], [""], "row 0 of the target has no response"),
        (["a", "a "], ["a"], "1 different responses; a classifier needs at least 2 labels"),
        ([], [], "0 different responses"),
        (map(str, range(2500)), ["x"], "2,501 different responses, above 2,000: this is not labelled data"),
    ],
)
def test_what_is_not_labelled_data(pool, target, words):
    with pytest.raises(InputError, match=words):
        label_set(pool, target)
