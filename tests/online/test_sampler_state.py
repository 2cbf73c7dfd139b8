"""A stream that goes on from a saved state is the stream that was never stopped."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasksift.errors import InputError
from tasksift.online import Layout, OnlineSampler
from tasksift.online.mixture import MODES

LABELS = list("aaaaaaaabbbbbcccdd")


def make(**options):
    return OnlineSampler(LABELS, **{"batch_size": 3, "accumulation": 2, "alpha": 0.5, "warmup_steps": 2, **options})


def go(sampler, steps, ahead=0):
    """Train for some steps, reading ahead as a loader does, and return rows and probabilities of each."""
    done = []
    while len(done) < steps:
        begin, rows, source = sampler.step, [], iter(sampler)
        sizes = [sampler.layout.rows_of(k) for k in range(begin % sampler.layout.steps, sampler.layout.steps)]
        ends = np.cumsum([0, *sizes])
        for k in range(len(sizes)):
            while len(rows) < ends[min(k + 1 + ahead, len(sizes))]:
                rows.append(next(source))
            now = rows[ends[k] : ends[k + 1]]
            sampler.observe(now, [1 + row % 5 for row in now])
            sampler.update()
            done.append((now, sampler.probabilities().tolist()))
            if len(done) == steps:
                break
    return done


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batches", ["mixed", "single"])
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 7, 11])
def test_a_stream_goes_on_bit_for_bit_through_json(mode, batches, stop):
    options = {"mode": mode, "batches": batches, "delay": 1, "counts": "exact" if stop % 2 else None}
    whole = go(make(**options), 14, ahead=1)
    first = make(**options)
    begun = go(first, stop, ahead=1)
    second = make(**options)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert begun + go(second, 14 - stop, ahead=1) == whole


@given(st.integers(0, 12), st.integers(0, 3), st.integers(0, 12), st.lists(st.integers(0, 17), min_size=1, max_size=9))
def test_restrictions_are_part_of_the_state(stop, delay, when, kept):
    def run(sampler, begin, end):
        done = []
        for step in range(begin, end):
            if step == when:
                sampler.restrict(kept)
            done += go(sampler, 1, ahead=delay)
        return done

    whole = run(make(delay=delay), 0, 13)
    first, second = make(delay=delay), make(delay=delay)
    begun = run(first, 0, stop)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + run(second, stop, 13) == whole


def test_the_counts_that_were_served_go_on():
    first, second = make(), make()
    go(first, 5)
    second.load_state_dict(first.state_dict())
    assert (second.served == first.served).all()
    assert np.array_equal(second.losses, first.losses, equal_nan=True)
    assert second.step == 5


def test_a_loader_that_skips_by_itself_finds_the_place_where_it_was():
    def arranged():
        sampler = make(mode="proportional")
        sampler.arrange(Layout(batch_size=2, accumulation=1, ranks=2, rounds=5, delay=5), rank=0)
        return sampler

    whole, first, second = list(arranged()), arranged(), arranged()
    source = iter(first)
    for _ in range(3):
        first.observe([next(source) for _ in range(4)], np.ones(4))
        first.update(lambda sums: sums)
    second.load_state_dict(first.state_dict())
    resumed = list(second)
    assert len(resumed) == len(whole) == 20
    assert resumed[12:] == whole[12:]
    assert len(list(second)) == 20


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"batches": "single"}, "batches"),
        ({"counts": "exact"}, "counts"),
        ({"batch_size": 4}, "rows of a round"),
        ({"accumulation": 3}, "accumulation"),
        ({"delay": 2}, "delay"),
        ({"epoch_rows": 99}, "rounds of an epoch"),
        ({"alpha": 0.9}, "alpha"),
        ({"mode": "paper"}, "mode"),
    ],
)
def test_a_state_of_other_arguments_is_refused_by_name(options, named):
    with pytest.raises(InputError, match=named):
        make(**options).load_state_dict(make().state_dict())


def test_a_state_of_other_domains_is_refused():
    other = OnlineSampler(list("aaaaaaaabbbbbccccd"), batch_size=3, accumulation=2, alpha=0.5, warmup_steps=2)
    with pytest.raises(InputError, match="domains"):
        other.load_state_dict(make().state_dict())


@pytest.mark.parametrize("state", [None, {}, {"format": 99}, [], {"format": 1}])
def test_what_is_no_state_is_refused_in_one_line(state):  # the published code calls None where a file is missing
    with pytest.raises(InputError, match="no state of an OnlineSampler"):
        make().load_state_dict(state)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.update(identity=None),
        lambda state: state.update(versions={"0": 3}),
        lambda state: state.update(losses=["x"]),
        lambda state: state["stream"].pop("taken"),
        lambda state: state["mixture"].update(estimates={}),
        lambda state: state["mixture"].update(probabilities=[2, 0, 0, 0]),
        lambda state: state.update(step=9),
        lambda state: state["versions"].update({"0": [[0.25] * 4, [], 7]}),
        lambda state: state["versions"].update({"0": [[-1, 1, 1, 0], [], 0]}),
        lambda state: state["stream"].update(rows={}),
        lambda state: state["stream"].update(taken=[-5] * 4),
        lambda state: state["stream"].update(expected=[None] * 4),
    ],
)
def test_a_damaged_state_is_refused_in_one_line_and_changes_nothing(damage):
    sampler, state = make(), make().state_dict()
    begun = go(sampler, 3)
    damage(state)
    with pytest.raises(InputError, match=r"damaged|is no list of numbers|of domain \d is") as caught:
        sampler.load_state_dict(state)
    assert "\n" not in str(caught.value)
    assert begun + go(sampler, 3) == go(make(), 6)


def test_a_refused_state_leaves_the_sampler_as_it_was():
    sampler = make()
    begun = go(sampler, 3)
    with pytest.raises(InputError):
        sampler.load_state_dict(make(seed=4).state_dict())
    assert begun + go(sampler, 3) == go(make(), 6)


def test_numbers_of_numpy_are_plain_in_a_state():
    sampler = make(seed=np.int64(3), batch_size=np.int32(2), delay=np.uint8(1))
    state = json.loads(json.dumps(sampler.state_dict()))
    make(seed=3, batch_size=2, delay=1).load_state_dict(state)
