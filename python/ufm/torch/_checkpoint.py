"""Files that are never half-written, and checkpoints that run no foreign code."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ufm._files import reading, replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values atomically."""
    with replacing(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Load what :func:`save_checkpoint` saved; refuses pickled code.

    Raises
    ------
    ValueError
        If the file is damaged or holds anything but tensors and plain values.
    """
    try:
        with reading(path):
            state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, AttributeError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"checkpoint {path} cannot be read: {reason:.200}") from None
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint {path} holds a {type(state).__name__}, not a dict")
    return state


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the system lets go when the process ends, however.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows; nothing is lost but this safeguard
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"another process is training in {folder}; wait for it or choose another folder"
            ) from None
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left."""
    for path in folder.glob(".*.*.????????"):
        path.unlink(missing_ok=True)
