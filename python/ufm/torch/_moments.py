"""One tensor that holds all moments, and a metric that stays in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ufm.metrics.statistics import Moments


class Float64Metric(Metric):
    """A metric whose numbers stay float64 when a module around it is cast."""

    is_differentiable = False
    full_state_update = False

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        if torch.backends.mps.is_available() and fn(torch.zeros(1)).device.type == "mps":
            # No float64 there: the numbers stay on the CPU, where batches are moved to.
            return self

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, *args, **kwargs)


def packed_size(num_classes: int, dim: int, covariance: bool) -> int:
    """Length of the packed state."""
    return num_classes * (dim + 2) + (dim * dim if covariance else 0)


def unpack(num_classes: int, dim: int, covariance: bool, packed: Tensor) -> Moments:
    """The moments inside a packed state; what is added to them is added to it."""
    sizes = [num_classes, num_classes, num_classes * dim, dim * dim if covariance else 0]
    counts, spread, means, scatter = torch.split(packed, sizes)
    return Moments(
        counts,
        means.view(num_classes, dim),
        spread,
        scatter.view(dim, dim) if covariance else None,
    )


def merge_packed(num_classes: int, dim: int, covariance: bool, parts: Tensor) -> Tensor:
    """Merge packed states stacked along the first axis, in their order."""
    merged = parts[0].clone()
    moments = unpack(num_classes, dim, covariance, merged)
    for part in parts[1:]:
        moments.merge(unpack(num_classes, dim, covariance, part))
    return merged
