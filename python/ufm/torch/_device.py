"""Devices: which one to use, how much memory it has left, in what pieces to work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import torch

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
}
# Elements that one pass of element-wise work covers: a share of the cache, or enough to fill a GPU.
_PIECE_CPU = 1 << 17
_PIECE_GPU = 1 << 25
_DOT_PIECE = 1 << 22


def check_device(device: Any) -> torch.device:
    """A device that is there and computes in float64; the CPU for None."""
    if device is None:
        return torch.device("cpu")
    probe = _probe(device, torch.float64, " in float64")
    if (probe @ probe).sum().item() != 8.0:
        raise ValueError(f"device {device!r} does not compute in float64")
    return probe.device


def present_device(device: Any) -> torch.device:
    """A device that is there, in whatever precision it computes."""
    return _probe(device, torch.float32, "").device


def _probe(device: Any, dtype: torch.dtype, how: str) -> torch.Tensor:
    """A matrix of ones that the device has multiplied with itself once."""
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device must be a string, a torch.device or None, got {device!r:.80}")
    try:
        probe = torch.ones((2, 2), dtype=dtype, device=torch.device(device))
        (probe @ probe).sum().item()
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        # PyTorch's own message may be a screen long.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"device must be one that PyTorch can use here{how}, got {device!r}: {reason:.200}"
        ) from None
    return probe


def check_dtype(dtype: Any) -> torch.dtype:
    """``torch.float64`` (for None too) or ``torch.float32``; their names are allowed."""
    if dtype is None:
        return torch.float64
    if not isinstance(dtype, (str, torch.dtype)):
        raise TypeError(f"dtype must be a torch.dtype, its name or None, got {dtype!r:.80}")
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ValueError(f"dtype must be torch.float64 or torch.float32, got {dtype!r:.80}")
    return _DTYPES[name]


def free_bytes(device: torch.device) -> float:
    """Bytes that can still be allocated, infinity where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + cached)
    if device.type != "cpu":
        return math.inf
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * float(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES")) * float(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def row_blocks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Blocks of rows of a matrix that are worked on at a time."""
    piece = _PIECE_CPU if device.type == "cpu" else _PIECE_GPU
    step = max(1, piece // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """Inner product of two vectors, summed in float64 over pieces; waits for the device."""
    if a.numel() <= _DOT_PIECE:
        return float(torch.dot(a, b).item())
    starts = range(0, a.numel(), _DOT_PIECE)
    pieces = [slice(start, start + _DOT_PIECE) for start in starts]
    parts = [torch.dot(a[piece], b[piece]).to(torch.float64) for piece in pieces]
    return float(torch.stack(parts).sum().item())
