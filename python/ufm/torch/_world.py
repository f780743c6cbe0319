"""The processes that train one network together: one, or those that torchrun started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from ufm.torch._device import check_device


@dataclass(frozen=True)
class World:
    """One process among `size`, and the device it uses."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process measures and writes."""
        return self.rank == 0

    def agree(self, flag: bool) -> bool:
        """The leading process's flag, in every process."""
        if self.size == 1:
            return flag
        shared = torch.tensor([flag], dtype=torch.int64, device=self.device)
        distributed.broadcast(shared, src=0)
        return bool(shared.item())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined_world(device: str | torch.device | None) -> Iterator[World]:
    """Join the processes that torchrun started, if it did."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not distributed.is_available():
        yield World(0, 1, check_device(device))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    wanted = (
        device if device is not None else f"cuda:{local}" if torch.cuda.is_available() else None
    )
    chosen = check_device(wanted)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        # Kept for later runs of this process: torchrun's store still holds the first group's
        # addresses, and a second group would wait for them.
        atexit.register(distributed.destroy_process_group)
    yield World(distributed.get_rank(), distributed.get_world_size(), chosen)
