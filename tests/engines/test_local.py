"""Threads that share the parts of a pool."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tasksift.engines import worker_count
from tasksift.engines.local import share


@pytest.fixture(params=[1, 2, 5], autouse=True)
def workers(request, monkeypatch):
    monkeypatch.setenv("TASKSIFT_WORKERS", str(request.param))
    return request.param


def blas_threads():
    return [module["num_threads"] for module in threadpool_info() if module["user_api"] == "blas"]


def test_results_come_in_the_order_of_the_parts():
    def slow_first(part):
        time.sleep(0.02 if part % 5 == 0 else 0)
        return part * part

    assert list(share(slow_first, range(40))) == [part * part for part in range(40)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_parts(count):
    assert list(share(str, range(count))) == ["0"][:count]


def test_an_exception_surfaces_in_its_place_and_stops_the_rest(workers):
    started = []

    def work(part):
        started.append(part)
        if part == 7:
            raise ValueError("part 7")
        return part

    got = []
    with pytest.raises(ValueError, match="part 7"):
        got.extend(share(work, range(1000)))
    assert got == [] or got == list(range(7))
    assert len(started) <= 7 + 1 + 3 * workers


def test_results_before_an_exception_are_handed_over():
    results = share(lambda part: 1 // (3 - part), range(50))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_a_caller_that_stops_early_ends_the_others(workers):
    started = []
    results = share(lambda part: started.append(part) or part, range(1000))
    assert next(results) == 0
    results.close()
    seen = len(started)
    assert seen <= 3 * workers + 1
    time.sleep(0.02)
    assert len(started) == seen, "work went on after the end"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tasksift")]


def test_no_more_parts_are_in_flight_than_two_for_each_worker(workers):
    asked = []

    class Parts(list):
        def __iter__(self):
            for part in super().__iter__():
                asked.append(part)
                yield part

    for count, _ in enumerate(share(abs, Parts(range(200)))):
        assert len(asked) <= count + 1 + 2 * workers


def test_blas_has_one_thread_inside_and_as_many_as_before_afterwards():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    assert before, "NumPy without a BLAS that can be limited"
    for inside in share(lambda part: blas_threads(), range(12)):
        assert set(inside) == {1}
    assert blas_threads() == before


def test_blas_is_given_back_when_work_fails_or_the_caller_stops():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError):
        list(share(lambda part: 1 // part, range(3)))
    assert blas_threads() == before
    results = share(abs, range(30))
    next(results)
    results.close()
    assert blas_threads() == before


def test_one_worker_works_in_the_calling_thread(workers):
    names = set(share(lambda part: threading.current_thread().name, range(50)))
    if workers == 1:
        assert names == {threading.current_thread().name}
    else:
        assert threading.current_thread().name not in names
        assert all(name.startswith("tasksift") for name in names)
        assert len(names) <= workers
    # A single part needs no thread either, and a number of workers that is asked for counts.
    assert set(share(lambda part: threading.current_thread().name, [0])) == {threading.current_thread().name}
    assert set(share(lambda part: threading.current_thread().name, range(9), 1)) == {threading.current_thread().name}


def test_many_workers_work_at_once(workers):
    barrier = threading.Barrier(workers)
    # Passed only when as many parts as there are workers wait at the same time.
    assert len(list(share(lambda part: barrier.wait(timeout=20), range(4 * workers)))) == 4 * workers
    assert worker_count() == workers


def test_shares_within_shares():
    inner = share(lambda part: list(share(lambda number: number + part, range(5))), range(6))
    assert list(inner) == [[part + number for number in range(5)] for part in range(6)]
