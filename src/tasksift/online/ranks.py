"""One answer, and one sum, for all processes of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def agreed(make: Callable[[], Rows]) -> Rows:
    """Have rank 0 make rows, and give them to every rank; without torch.distributed this is ``make()``.

    Parameters
    ----------
    make : callable
        Returns int64 (n,); the other ranks do not call it.

    Raises
    ------
    InputError
        On the other ranks, when rank 0 failed: each ends, none waits for ever.

    Notes
    -----
    The others wait for rank 0 for as long as the process group allows (``ddp_timeout`` of the Trainer, half an hour by
    default).
    """
    try:
        import torch.distributed as dist
    except ImportError:
        return make()
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return make()
    import torch

    place = _place()
    made: Rows = np.empty(0, dtype=np.int64)
    size = torch.full((1,), -1, dtype=torch.int64, device=place)
    if dist.get_rank() == 0:
        try:
            made = np.ascontiguousarray(make(), dtype=np.int64)
        except BaseException:
            dist.broadcast(size, 0)
            raise
        size.fill_(len(made))
    dist.broadcast(size, 0)
    if int(size) < 0:
        raise InputError("rank 0 could not select; its own message says why")
    rows = torch.from_numpy(made.copy()) if dist.get_rank() == 0 else torch.empty(int(size), dtype=torch.int64)
    rows = rows.to(place)
    dist.broadcast(rows, 0)
    agreed_on: Rows = rows.cpu().numpy()
    return agreed_on


def summed(values: Floats) -> Floats:
    """Add an array up over all ranks; without torch.distributed it is the sum. For `OnlineSampler.update`.

    All ranks get the same bits: the parts are added in the order of the ranks.
    """
    try:
        import torch.distributed as dist
    except ImportError:
        return values
    if not (dist.is_available() and dist.is_initialized()):
        return values
    import torch

    mine = torch.from_numpy(np.ascontiguousarray(values)).to(_place())
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return np.asarray(torch.stack(parts).cpu().numpy().sum(0))


def _place() -> Any:
    """Where arrays must be to be sent."""
    import torch
    import torch.distributed as dist

    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
