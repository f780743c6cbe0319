"""The problem with nonnegative features by clusters: loss, gradient and curvature.

By symmetry the optimum is told by the between-cluster matrix M (C, C), an amplitude alpha (C,) on
differences of classes of a cluster, and the bias b (C,) of a class of each cluster. Counts enter
as ``root = sqrt(n_i / max n)``, which keeps every quantity near one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ufm.problem import FloatArray


@dataclass(frozen=True, eq=False)
class ClusterLoss:
    """Cross-entropy of C clusters, weighted, as a function of (M, alpha, b).

    Attributes
    ----------
    size : ndarray of shape (C,)
        Classes of each cluster.
    root : ndarray of shape (C,)
        Square roots of the counts, the largest scaled to 1.
    weight : ndarray of shape (C,)
        Loss weight pi of one class of each cluster.
    """

    size: FloatArray
    root: FloatArray
    weight: FloatArray

    @property
    def alone(self) -> FloatArray:
        """Shape (C,): pi / root, the gradient on differences within a merged cluster."""
        return self.weight / self.root

    def logits(
        self, M: FloatArray, alpha: FloatArray, b: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits relative to the own class: (C, C) of other classes, and alpha / root (C,)."""
        other = M / (np.sqrt(self.size)[:, None] * (np.sqrt(self.size) * self.root))
        index = np.arange(self.size.size)
        other[..., index, index] -= alpha / (self.size * self.root)
        other += b[..., :, None]
        lift = alpha / self.root
        own = other[..., index, index] + lift
        return other - own[..., None, :], lift

    def at(self, M: FloatArray, alpha: FloatArray, b: FloatArray) -> LossPoint:
        """Evaluate the loss."""
        relative, _ = self.logits(M, alpha, b)
        others = np.broadcast_to(self.size[:, None], relative.shape).copy()
        others[np.diag_indices_from(others)] -= 1.0
        relative = np.where(others > 0, relative, -np.inf)
        shift = np.maximum(relative.max(axis=0), 0.0)
        mass = others * np.exp(relative - shift)
        own = np.exp(-shift)
        rest = mass.sum(axis=0)
        total = own + rest
        value = np.where(shift > 0, shift + np.log(total), np.log1p(rest))
        return LossPoint(self, value, mass / total, own / total, rest / total)


@dataclass(frozen=True, eq=False)
class LossPoint:
    """The loss at one point.

    ``value`` (C,): cross-entropy per class; ``mass`` (C, C): entry (j, i) is what a class of
    cluster i gives to the other classes of cluster j together; ``own`` and ``wrong`` (C,): what it
    gives to itself, and 1 minus that without cancellation.
    """

    loss: ClusterLoss
    value: FloatArray
    mass: FloatArray
    own: FloatArray
    wrong: FloatArray

    @property
    def total(self) -> float:
        """The weighted loss."""
        return float((self.loss.size * self.loss.weight) @ self.value)

    def gradient(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gradient in M (C, C), alpha (C,) and b (C,)."""
        return self._pull_back(self.mass, self.wrong)

    def curvature(
        self, dM: FloatArray, dalpha: FloatArray, db: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Hessian of the loss times a direction."""
        relative, _ = self.loss.logits(dM, dalpha, db)
        mean = (self.mass * relative).sum(axis=0)
        return self._pull_back(self.mass * (relative - mean), self.own * mean)

    def _pull_back(
        self, mass: FloatArray, wrong: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        size, root = self.loss.size, self.loss.root
        weight = size * self.loss.weight
        within = np.diagonal(mass)
        rows = mass * weight
        rows[np.diag_indices_from(rows)] -= weight * wrong
        b = rows.sum(axis=1)
        M = rows / (np.sqrt(size)[:, None] * (np.sqrt(size) * root))
        alpha = -weight / root * (within + wrong * (size - 1)) / size
        return M, alpha, b
