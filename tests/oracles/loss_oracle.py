"""The loss zoo in plain numpy: objective, dual, gap and KKT residuals from dense ``Z`` and ``b``.

With targets ``t_k = (1 - epsilon) e_k + epsilon / K``, scales s, offsets o and loss weights
``pi_k = class_weights[k] counts[k] / sum(counts)``::

    min over Z, b of  sum_k pi_k CE(s (z_k + b) + o, t_k) + lambda_z ||Z D^{1/2}||_*
                      + lambda_b/2 |b|^2

Lagrange dual, for P in the simplex column by column with
``||diag(s) (P - T) diag(pi / sqrt n)||_2 <= lambda_z``::

    sum_k pi_k (H(p_k) + <p_k - t_k, o>) - |diag(s) (P - T) pi|^2 / (2 lambda_b)

Here probabilities are plain softmax values: good to rounding, not for losses of 1e-12.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_softmax, xlogy

from oracles.numpy_oracle import Array, Certificate


@dataclass(frozen=True)
class LossProblem:
    """A problem of the zoo; every vector has shape (K,)."""

    counts: Array
    lambda_z: float
    lambda_b: float
    smoothing: float = 0.0
    scales: Array | None = None
    offsets: Array | None = None
    class_weights: Array | None = None
    metric: Array | None = None  # D, where it is not diag(counts)
    K: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", np.asarray(self.counts, float))
        object.__setattr__(self, "K", self.counts.size)
        for name, default in (("scales", 1.0), ("offsets", 0.0), ("class_weights", 1.0)):
            value = getattr(self, name)
            array = np.full(self.K, default) if value is None else np.asarray(value, float)
            object.__setattr__(self, name, array)
        metric = self.counts if self.metric is None else np.asarray(self.metric, float)
        object.__setattr__(self, "metric", metric)

    @property
    def pi(self) -> Array:
        return self.class_weights * self.counts / self.counts.sum()

    @property
    def targets(self) -> Array:
        return (1 - self.smoothing) * np.eye(self.K) + self.smoothing / self.K

    def log_probabilities(self, Z: Array, b: Array) -> Array:
        logits = self.scales[:, None] * (Z + b[:, None]) + self.offsets[:, None]
        return log_softmax(logits, axis=0)

    def loss(self, Z: Array, b: Array) -> float:
        return float(-(self.targets * self.log_probabilities(Z, b)).sum(axis=0) @ self.pi)

    def nuclear_norm(self, Z: Array) -> float:
        return float(np.linalg.svd(Z * np.sqrt(self.metric), compute_uv=False).sum())

    def objective(self, Z: Array, b: Array) -> float:
        penalty = 0.5 * self.lambda_b * float(b @ b) if np.isfinite(self.lambda_b) else 0.0
        return self.loss(Z, b) + self.lambda_z * self.nuclear_norm(Z) + penalty

    def residual(self, Z: Array, b: Array) -> Array:
        """``diag(s) (P - T)``."""
        return self.scales[:, None] * (np.exp(self.log_probabilities(Z, b)) - self.targets)

    def gradient(self, Z: Array, b: Array) -> tuple[Array, Array]:
        """Gradients of the loss in ``X = Z D^{1/2}`` and in b."""
        residual = self.residual(Z, b)
        return residual * (self.pi / np.sqrt(self.metric)), residual @ self.pi

    def dual_value(self, P: Array) -> float:
        """Dual objective at P, whatever its feasibility (lambda_b > 0)."""
        entropy = -xlogy(P, P).sum(axis=0)
        value = float((entropy + self.offsets @ (P - self.targets)) @ self.pi)
        if np.isfinite(self.lambda_b):
            drift = self.scales * ((P - self.targets) @ self.pi)
            value -= float(drift @ drift) / (2 * self.lambda_b)
        return value

    def certificate(self, Z: Array, b: Array) -> Certificate:
        """Gap of (Z, b), lambda_b > 0, from ``T + s (P - T)`` scaled to feasibility."""
        G, _ = self.gradient(Z, b)
        scale = min(1.0, self.lambda_z / float(np.linalg.norm(G, 2)))
        P = np.exp(self.log_probabilities(Z, b))
        dual = self.dual_value(self.targets + scale * (P - self.targets))
        return Certificate(self.objective(Z, b), dual, scale)

    def constrained_bound(self, Z: Array, b: Array, radius: float) -> float:
        """Lower bound of loss and bias penalty where ``||Z D^{1/2}||_* <= radius``.

        Minimising the Lagrangian in Z over the ball costs ``radius ||G||_2`` (lambda_b > 0).
        """
        G, _ = self.gradient(Z, b)
        P = np.exp(self.log_probabilities(Z, b))
        return self.dual_value(P) - radius * float(np.linalg.norm(G, 2))

    def kkt(self, Z: Array, b: Array) -> tuple[float, float, float]:
        """Relative dual infeasibility, complementarity and bias residual; 0 at the optimum."""
        G, g = self.gradient(Z, b)
        X = Z * np.sqrt(self.metric)
        infeasibility = max(0.0, float(np.linalg.norm(G, 2)) / self.lambda_z - 1)
        slack = self.lambda_z * self.nuclear_norm(Z) + float(np.sum(G * X))
        bias = (
            float(np.abs(b).max())
            if np.isinf(self.lambda_b)
            else np.abs(g + self.lambda_b * b).max()
        )
        return infeasibility, slack / self.objective(Z, b), float(bias)
