import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.online import Layout


def test_rows_stand_by_round_and_then_by_rank():
    layout = Layout(batch_size=2, accumulation=2, ranks=3, rounds=5)
    rows = np.arange(12)
    assert layout.own(rows, 0).tolist() == [[0, 1], [6, 7]]
    assert layout.own(rows, 2).tolist() == [[4, 5], [10, 11]]
    assert sorted(np.concatenate([layout.own(rows, rank).ravel() for rank in range(3)])) == rows.tolist()


def test_the_last_step_of_an_epoch_has_what_is_left():
    layout = Layout(batch_size=2, accumulation=2, ranks=3, rounds=5)
    assert layout.steps == 3
    assert [layout.rows_of(step) for step in range(3)] == [12, 12, 6]


@pytest.mark.parametrize("name", ["batch_size", "accumulation", "ranks", "rounds"])
def test_numbers_out_of_range_are_named(name):
    with pytest.raises(InputError, match=f"{name} 0 is out of range"):
        Layout(**{"batch_size": 1, "accumulation": 1, "ranks": 1, "rounds": 1, name: 0})
    with pytest.raises(InputError, match="delay -1"):
        Layout(1, 1, 1, 1, -1)
