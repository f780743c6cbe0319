"""The cross-entropy at any point that is constant on clusters."""

from __future__ import annotations

import math

import numpy as np

from ufm import _core
from ufm._loss import Loss
from ufm.problem import FloatArray
from ufm.solution import Solution


def loss_at_scaled(solution: Solution, factor: float) -> float:
    """Loss and bias penalty at (factor * Z, b), from C x C numbers for C clusters."""
    blocks, k = solution.blocks, solution.multiplicity
    shape = solution.loss.cluster_arguments(solution.representatives)
    scale, offset, smoothing = shape["scale"], shape["offset"], shape["smoothing"]
    bias = solution.scaled_bias / np.sqrt(k)
    own = scale * (factor * blocks.own + bias) + offset
    logits = scale[:, None] * (factor * blocks.between + bias[:, None]) + offset[:, None]
    relative = logits - own  # of the wrong classes against the true one
    wrong = k[:, None] - np.eye(k.size)  # how many classes an entry stands for
    shift = np.maximum(np.where(wrong > 0, relative, 0.0).max(axis=0), 0.0)
    odds = (wrong * np.exp(np.where(wrong > 0, relative - shift, 0.0))).sum(axis=0)
    above = shift > 0.0
    loss = np.where(above, shift + np.log(np.exp(-shift) + odds), np.log1p(odds))
    if smoothing > 0.0:
        loss = loss - smoothing / k.sum() * (wrong * relative).sum(axis=0)
    value = float((k * solution.cluster_loss_weight) @ loss)
    if math.isfinite(solution.lambda_b):
        value += 0.5 * solution.lambda_b * float(solution.scaled_bias @ solution.scaled_bias)
    return value


def target_entropy(loss: Loss, counts: FloatArray) -> float:
    """Weighted entropy of the smoothed labels: no loss is smaller."""
    size, epsilon = counts.size, loss.smoothing
    if epsilon == 0.0:
        return 0.0
    wrong = epsilon / size
    own = 1.0 - epsilon + wrong
    entropy = -(size - 1) * wrong * math.log(wrong) - own * math.log(own)
    weights = 1.0 if loss.class_weights is None else loss.class_weights
    return entropy * float((weights * counts).sum() / counts.sum())


# Beyond this the singular values cost more than the solve, and the objective tells the norm.
_MOST_SINGULAR_VALUES = 1000


def nuclear_norm(solution: Solution) -> float:
    """Nuclear norm of Z D^(1/2), or an upper bound of it about 1e-9 above."""
    if solution.num_clusters > _MOST_SINGULAR_VALUES:
        return max(solution.objective - loss_at_scaled(solution, 1.0), 0.0) / solution.lambda_z
    within = float((solution.multiplicity - 1.0) @ solution.amplitudes)
    return within + float(_core.singular_values(solution.between.dense()).sum())
