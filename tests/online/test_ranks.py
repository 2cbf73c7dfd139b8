"""Two processes of one training come to the same rows."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tasksift.online.ranks import agreed

TWO = """
import sys
import numpy as np
import torch.distributed as dist
from tasksift.errors import InputError
from tasksift.online.ranks import agreed

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
made = []

def make(values):
    made.append(rank)
    return np.array(values, dtype=np.int64) + rank

print(agreed(lambda: make([5, 2**40, 5])).tolist(), agreed(lambda: make([])).tolist(), made)

def fail():
    raise InputError("the pool is gone")

try:
    agreed(fail)
except InputError as error:
    print(error)
print(agreed(lambda: make([1])).tolist())
dist.destroy_process_group()
"""


def test_alone_it_is_what_was_made():
    assert agreed(lambda: np.array([3, 1])).tolist() == [3, 1]


def test_two_ranks_agree_and_none_waits_for_one_that_failed(tmp_path):
    pytest.importorskip("torch")
    # Published code selects by a generator of every rank's own, so ranks train on different sets.
    command = [sys.executable, "-c", TWO]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], stdout=-1, stderr=-1, text=True, env=env)
        for rank in (0, 1)
    ]
    try:
        said = [each.communicate(timeout=120) for each in both]
    finally:
        for each in both:
            each.kill()
    rows = f"[5, {2**40}, 5] []"
    assert [out for out, _ in said] == [
        f"{rows} [0, 0]\nthe pool is gone\n[1]\n",
        f"{rows} []\nrank 0 could not select; its own message says why\n[1]\n",
    ], said
