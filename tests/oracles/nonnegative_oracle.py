"""The UFM with nonnegative features, written out densely: no clusters, no atoms, no symmetry.

The problem, over W (K, d), H (d, K) >= 0 and b (K,), with Z = W H and X = Z D^{1/2}::

    sum_k pi_k CE(z_k + b, e_k) + lambda_z/2 (||W||^2 + ||H D^{1/2}||^2) + lambda_b/2 ||b||^2
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from oracles import numpy_oracle
from oracles.numpy_oracle import Array


@dataclass(frozen=True)
class NonnegativeCertificate:
    """Primal value of factors, dual value of their predictions, and max |G a| over unit a >= 0."""

    primal: float
    dual: float
    polar: float

    @property
    def relative_gap(self) -> float:
        return (self.primal - self.dual) / self.primal


def polar(G: Array) -> float:
    """Return max |G a| over unit a >= 0 by looking at every support, for up to a dozen classes."""
    Q = G.T @ G
    best = 0.0
    for size in range(1, Q.shape[0] + 1):
        for support in combinations(range(Q.shape[0]), size):
            values, vectors = np.linalg.eigh(Q[np.ix_(support, support)])
            vector = vectors[:, -1]
            if (vector >= -1e-9).all() or (vector <= 1e-9).all():
                best = max(best, float(values[-1]))
    return float(np.sqrt(best))


def gauge_of_factors(W: Array, H: Array, counts: ArrayLike) -> float:
    """Return the sum over units of |w_j| |a_j| with a_j = D^{1/2} h_j, a bound of the gauge."""
    assert (H >= 0).all()
    A = H * np.sqrt(np.asarray(counts, float))
    return float(np.linalg.norm(W, axis=0) @ np.linalg.norm(A, axis=1))


def certificate(
    W: Array,
    H: Array,
    b: Array,
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    class_weights: ArrayLike | None = None,
) -> NonnegativeCertificate:
    """Certify factors and a bias."""
    n = np.asarray(counts, float)
    pi = numpy_oracle.loss_weights(n, class_weights)
    p = numpy_oracle.predictions(W @ H, b)
    primal = float(pi @ p.loss) + lambda_z * gauge_of_factors(W, H, n)
    largest = polar(numpy_oracle.gradient_matrix(W @ H, b, n, class_weights))
    s = min(1.0, lambda_z / largest) if largest > 0 else 1.0
    # P_s = I + s (P - I); entropy term by term, own probability as 1 - s miss.
    off = s * p.probability
    np.fill_diagonal(off, 0.0)
    terms = np.where(off > 0, -off * np.log(np.where(off > 0, off, 1.0)), 0.0).sum(axis=0)
    own = 1.0 - s * p.miss
    dual = float(pi @ (terms - own * np.log1p(-s * p.miss)))
    residual = off @ pi - s * p.miss * pi
    if lambda_b == 0:
        # Feasible only where this vanishes; a residual r shifts the bound by at most |r . b|.
        assert np.abs(residual).max() <= 1e-10
        dual -= float(np.abs(residual).sum() * np.abs(b).max())
    elif np.isfinite(lambda_b):
        primal += 0.5 * lambda_b * float(b @ b)
        dual -= float(residual @ residual) / (2.0 * lambda_b)
    else:
        assert not b.any()
    return NonnegativeCertificate(primal, dual, largest)


def descend(
    counts: ArrayLike,
    lambda_z: float,
    lambda_b: float,
    *,
    width: int,
    starts: int,
    class_weights: ArrayLike | None = None,
    seed: int = 0,
) -> list[float]:
    """Return the objectives that projected quasi-Newton descent on (W, H >= 0, b) ends at."""
    n = np.asarray(counts, float)
    K = n.size
    pi = numpy_oracle.loss_weights(n, class_weights)
    rng = np.random.default_rng(seed)

    def value(vector: Array) -> tuple[float, Array]:
        W = vector[: K * width].reshape(K, width)
        A = vector[K * width : 2 * K * width].reshape(width, K)
        b = vector[2 * K * width :]
        Z = W @ (A / np.sqrt(n))
        logits = Z + b[:, None]
        shift = logits.max(axis=0)
        exponential = np.exp(logits - shift)
        total = exponential.sum(axis=0)
        loss = float(pi @ (shift + np.log(total) - np.diag(logits)))
        loss += 0.5 * lambda_z * float((W**2).sum() + (A**2).sum())
        loss += 0.5 * lambda_b * float(b @ b)
        residual = (exponential / total - np.eye(K)) * pi
        gradient = residual / np.sqrt(n)
        return loss, np.concatenate(
            [
                (gradient @ A.T + lambda_z * W).ravel(),
                (W.T @ gradient + lambda_z * A).ravel(),
                residual.sum(axis=1) + lambda_b * b,
            ]
        )

    size = K * width
    bounds = [(None, None)] * size + [(0, None)] * size + [(None, None)] * K
    ends = []
    for _ in range(starts):
        begin = (
            np.concatenate([rng.normal(size=size), np.abs(rng.normal(size=size)), np.zeros(K)])
            * n.max() ** 0.25
        )
        result = minimize(
            value,
            begin,
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"maxiter": 20000, "maxfun": 30000, "ftol": 1e-15, "gtol": 1e-10},
        )
        ends.append(float(result.fun))
    return ends
