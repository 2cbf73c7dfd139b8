"""Online mixing on two processes: together they are the one that has batches twice as large."""

import json
import os
import socket
import sys
import traceback

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from accelerate.state import AcceleratorState, GradientState, PartialState  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from trainers import (  # noqa: E402
    Recording,
    labels_of,
    make_rows,
    prepared,
)

from tasksift.errors import InputError  # noqa: E402
from tasksift.online import OnlineSampler  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")

ROWS = make_rows(30)
LABELS = labels_of(30)

RUNS = {
    "a step is a batch": {},
    "steps of several batches": {"gradient_accumulation_steps": 2},
    "an epoch that does not divide": {"gradient_accumulation_steps": 3},
    "workers": {"gradient_accumulation_steps": 2, "dataloader_num_workers": 1, "max_steps": 6},
    "dropping the last": {"dataloader_drop_last": True, "num_train_epochs": 1},
    "batches split by the loader": {
        "accelerator_config": {"split_batches": True}, "per_device_train_batch_size": 4, "num_train_epochs": 1,
    },
}  # fmt: skip


def trained(folder, size, resume=None, batches="mixed", **options):
    """What a run gives, as JSON: the rows of each step, the probabilities after it, the weights at the end."""
    sampler = Recording(LABELS, seed=3, batches=batches)
    options = {"per_device_train_batch_size": size, "save_strategy": "steps", "save_steps": 3, **options}
    trainer, spy = prepared(folder, sampler, ROWS, **options)
    trainer.train(resume_from_checkpoint=resume)
    assert spy.steps == sampler.done
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]).tolist()
    return {"rows": spy.steps, "p": sampler.followed, "losses": sampler.losses.tolist(), "weights": weights}


def work(folder):
    """All that one of two processes does; each of them has the same to do."""
    runs = {name: trained(folder / name, 2, ddp_backend="gloo", **options) for name, options in RUNS.items()}
    runs["single"] = trained(folder / "single", 2, batches="single", ddp_backend="gloo", gradient_accumulation_steps=2)
    name = "an epoch that does not divide"
    runs["resumed"] = trained(folder / name, 2, str(folder / name / "checkpoint-3"), ddp_backend="gloo", **RUNS[name])
    return runs


def fork(rank, port, folder):
    """Start a process of two, by what torchrun tells it."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port), ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1",
        )  # fmt: skip
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        (folder / f"rank-{rank}.json").write_text(json.dumps(work(folder)))
        torch.distributed.destroy_process_group()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the fork must not go on with the tests
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes saw, run by run."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [fork(rank, port, folder) for rank in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def together(one, other):
    """The batches of each step of one process that has both parts."""
    return [[a + b for a, b in zip(*step, strict=True)] for step in zip(one, other, strict=True)]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_on_the_rows_of_one(ranks, tmp_path, name):
    """C3, and regression 5.3 #8: the parts are disjoint, and their union is the stream of one process."""
    one, other = (rank[name] for rank in ranks)
    whole = trained(tmp_path, 4, **{k: v for k, v in RUNS[name].items() if k not in ("accelerator_config",)})
    assert together(one["rows"], other["rows"]) == whole["rows"]
    np.testing.assert_allclose(one["p"], whole["p"], rtol=1e-5)
    np.testing.assert_allclose(one["losses"], whole["losses"], rtol=1e-5)
    np.testing.assert_allclose(one["weights"], whole["weights"], atol=2e-4)


@pytest.mark.parametrize("name", [*RUNS, "single", "resumed"])
def test_all_processes_have_the_same_probabilities_to_the_bit(ranks, name):
    """Regression 5.3 #8: what is added up is added up in one order."""
    one, other = (rank[name] for rank in ranks)
    assert one["p"] == other["p"]
    assert one["losses"] == other["losses"]
    assert one["weights"] == other["weights"]
    assert one["rows"] != other["rows"]


def test_batches_of_one_domain_differ_between_processes(ranks):
    """As in 3.3: as many domains are drawn as there are processes and batches."""
    batches = [batch for rank in ranks for step in rank["single"]["rows"] for batch in step]
    assert all(len({LABELS[row] for row in batch}) == 1 for batch in batches)
    pairs = zip(*(np.concatenate(rank["single"]["rows"]) for rank in ranks), strict=True)
    assert any(LABELS[a[0]] != LABELS[b[0]] for a, b in pairs)


def test_two_resumed_processes_go_on_as_if_never_stopped(ranks):
    for rank in ranks:
        whole, resumed = rank["an epoch that does not divide"], rank["resumed"]
        assert resumed["rows"] == whole["rows"][3:]
        assert resumed["p"] == whole["p"][3:]
        assert resumed["weights"] == whole["weights"]


def formula(row, step):
    """A loss that depends on the row and the step."""
    return 1 + (row * 7 % 5) / 4 + 1 / (1 + step)


@pytest.mark.parametrize("batches", ["mixed", "single"])
@pytest.mark.parametrize("ranks_", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_plain_loaders_of_several_ranks_share_the_stream_of_one(batches, ranks_, accumulation):
    """Without a Trainer: the union of the ranks is the stream of one, and all end with the same bits."""

    def loop(ranks, size):
        """Loaders in turn, as processes that wait for each other."""
        samplers = [
            OnlineSampler(
                LABELS, batch_size=size, accumulation=accumulation, rank=rank, ranks=ranks, delay=1, seed=5,
                batches=batches if ranks_ > 1 else "mixed", epoch_rows=24,
            )
            for rank in range(ranks)
        ]  # fmt: skip
        loaders = [iter(()) for _ in samplers]
        drawn, followed = [], []
        for step in range(10):
            parts = []
            for k, sampler in enumerate(samplers):
                got = []
                for _ in range(accumulation):
                    batch = next(loaders[k], None)
                    if batch is None and not got:
                        loaders[k] = iter(DataLoader(range(30), batch_size=size, sampler=sampler))
                        batch = next(loaders[k])
                    if batch is not None:
                        got.append(batch.tolist())
                        sampler.observe(batch, [formula(row, step) for row in batch.tolist()])
                parts.append(got)
            total = np.sum([sampler._pending for sampler in samplers], axis=0)
            for sampler in samplers:
                sampler.update(lambda mine, total=total: total)
            assert all((each.probabilities() == samplers[0].probabilities()).all() for each in samplers)
            drawn.append([row for turn in zip(*parts, strict=True) for batch in turn for row in batch])
            followed.append(samplers[0].probabilities())
        return drawn, followed

    rows, p = loop(ranks_, 2)
    if batches == "mixed" or ranks_ == 1:
        expected_rows, expected = loop(1, 2 * ranks_)
        assert rows == expected_rows
        np.testing.assert_allclose(p, expected, rtol=1e-12)
    assert {LABELS[row] for row in np.concatenate(rows)} == {"a", "b", "c"}


def test_ranks_that_do_not_add_up_are_refused():
    sampler = OnlineSampler(LABELS, rank=1, ranks=2)
    next(iter(sampler))
    with pytest.raises(InputError, match=r"call update\(tasksift.online.summed\)"):
        sampler.update()
