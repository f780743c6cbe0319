"""The parameters of a linear classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def linear_parameters(
    classifier: Any, num_classes: int | None = None, dim: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Weight (K, d) and bias (K,) of a linear layer, detached; they follow its training.

    Raises
    ------
    TypeError
        If it is no linear layer.
    ValueError
        If its shape does not fit.
    """
    weight, bias = getattr(classifier, "weight", None), getattr(classifier, "bias", None)
    # An embedding has such a weight too, but no bias, not even None.
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not hasattr(classifier, "bias"):
        raise TypeError(
            "classifier must be a linear layer with a weight of shape (K, d), "
            f"got {type(classifier).__name__}"
        )
    if (num_classes, dim) != (None, None) and tuple(weight.shape) != (num_classes, dim):
        raise ValueError(
            f"classifier must have a weight of shape ({num_classes}, {dim}), "
            f"got {tuple(weight.shape)}"
        )
    return weight.detach(), bias.detach() if isinstance(bias, Tensor) else None


def same_parameters(one: Any, other: Any) -> bool:
    """Whether two classifiers have the same weight and bias, whatever their devices."""
    return all(
        a is b or (a is not None and b is not None and torch.equal(a.cpu(), b.cpu()))
        for a, b in zip(one, other, strict=True)
    )
