"""The cluster as the driver meets it: the connection, what was moved to disk, and the threads that Ray starts here."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasksift.engines import worker_count
from tasksift.engines.ray_worker import load_ray
from tasksift.errors import InputError

STORE_BYTES = 2**31
"""The object store of a cluster that is started here takes at most so many bytes of shared memory."""

TOKEN = Path("~/.ray/auth_token")
"""Where Ray keeps what a cluster of this user asks for."""

ANSWER_SECONDS = 10.0
"""How long the machine of an address may take to answer."""

END_SECONDS = 60.0
"""How long a thread of `ray.data` may take to end; it waits for workers, which may be slow on a busy machine."""

THREADS = ("StreamingExecutor", "ray-data-metadata-prefetch", "iter_threaded", "map_tp_")
"""How names of threads begin in which `ray.data` works for this process, from 2.55 to 2.60; another one only waits."""


def spilled_bytes(node: str) -> int | None:
    """How much the cluster has moved from its object stores to disk, as this node knows; None if nobody says."""
    import grpc
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    ray = load_ray()
    here = next(each for each in ray.nodes() if each["NodeID"] == node)
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    try:  # there is no public function for it
        reply = get_memory_info_reply(state, here["NodeManagerAddress"], here["NodeManagerPort"])
    except grpc.RpcError:
        return None
    return int(reply.store_stats.spilled_bytes_total)


def connect(address: str | None) -> bool:
    """Connect this process to a cluster, or start one; return whether it was not connected before.

    See `tasksift.engines.ray.RayEngine` for the address and the errors.
    """
    # Clusters of this user ask for it; Ray looks when it is imported, and not again.
    if "ray" not in sys.modules and TOKEN.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = load_ray()
    if ray.is_initialized():
        return False
    # What goes wrong in a worker is answered here.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address in (None, "local"):
        # Ray's workers make way for all else on the machine, this process included; processes of ours do not.
        os.environ.setdefault("RAY_worker_niceness", "0")
        more: dict[str, Any] = {"num_cpus": worker_count(), "object_store_memory": STORE_BYTES}
        with _muted():
            ray.init("local", include_dashboard=False, **more, **quiet)
        return True
    if address.startswith("ray://"):
        raise InputError(
            f"--ray-address {address}: run the command on a machine of the cluster, by ray job submit for example, and "
            "give auto"
        )
    try:
        host, _, port = address.rpartition(":")
        if host:  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
        with _muted():
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(
            f"--ray-address {address}: no Ray cluster answers there ({detail}); start one with ray start --head, or "
            "leave the option out to use the cores of this machine"
        ) from None
    return True


@contextmanager
def threads_ended() -> Iterator[None]:
    """Wait for the threads that `ray.data` starts within.

    One that asks for something when the connection has ended makes Ray end this process.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith(THREADS):
                thread.join(END_SECONDS)


@contextmanager
def _muted() -> Iterator[None]:
    """Let nothing through to standard error, to which Ray's own libraries write when they start."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
