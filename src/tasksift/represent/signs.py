"""Random signs and numbers that depend on a key and on nothing else: drawn on the CPU, the same for every device."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray


def raw(count: int, *key: object) -> NDArray[np.uint64]:
    """Return random 64-bit numbers (count,): Philox under a key for each purpose, alike in every version of numpy."""
    digest = blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)


def signs(count: int, *key: object) -> NDArray[np.int8]:
    """Return random +-1 (count,), one for each bit that is drawn."""
    bits = np.unpackbits(raw(-(-count // 64), *key).astype("<u8").view(np.uint8), count=count)
    return (bits * np.uint8(2)).view(np.int8) - np.int8(1)


def sign_matrix(rows: int, columns: int, k: int, device: Any, *key: object) -> Any:
    """Return a float32 tensor (rows, columns) of +-1/sqrt(k)."""
    import torch

    drawn = torch.from_numpy(signs(rows * columns, *key).reshape(rows, columns)).to(device)
    return drawn.to(torch.float32) / k**0.5
