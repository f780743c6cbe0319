"""Accelerated proximal gradient in numpy, singular-value thresholding by LAPACK's dgesdd."""

from __future__ import annotations

import numpy as np
from scipy.linalg import svd

from bench.cases import Array, Case
from bench.recorder import Recorder


def shrink(X: Array, tau: float) -> Array:
    """Lower all singular values by tau, to zero at the least."""
    left, values, right = svd(X, full_matrices=False, overwrite_a=True, check_finite=False)
    rank = int((values > tau).sum())
    return (left[:, :rank] * (values[:rank] - tau)) @ right[:rank]


def run(case: Case, recorder: Recorder) -> None:
    """Iterate from zero in (X, b sqrt(N)), where 1/N is a Lipschitz constant of the gradient.

    Momentum as in FISTA, restarted when it points uphill (O'Donoghue and Candes).
    """
    counts = case.counts
    total = float(counts.sum())
    root, pi = np.sqrt(counts), counts / total
    X = np.zeros((counts.size, counts.size))
    c = np.zeros(counts.size)  # sqrt(N) b
    Y, d, t = X, c, 1.0
    while True:
        slope, bias_slope = _slopes(Y, d, root, pi, total)
        X_new = shrink(Y - total * slope, total * case.lambda_z)
        c_new = (d - total * bias_slope) / (1.0 + case.lambda_b)
        uphill = np.vdot(Y - X_new, X_new - X) + (d - c_new) @ (c_new - c) > 0.0
        t_new = 1.0 if uphill else 0.5 + 0.5 * np.sqrt(1.0 + 4.0 * t * t)
        momentum = 0.0 if uphill else (t - 1.0) / t_new
        Y, d = X_new + momentum * (X_new - X), c_new + momentum * (c_new - c)
        X, c, t = X_new, c_new, t_new
        if recorder.offer(lambda X=X, c=c: (X / root, c / np.sqrt(total))):
            return


def _slopes(Y: Array, d: Array, root: Array, pi: Array, total: float) -> tuple[Array, Array]:
    """Gradient of the loss in X and in b sqrt(N)."""
    logits = Y / root
    logits += (d / np.sqrt(total))[:, None]
    logits -= logits.max(axis=0)
    P = np.exp(logits)
    P *= pi / P.sum(axis=0)
    np.fill_diagonal(P, np.diag(P) - pi)
    return P / root, P.sum(axis=1) / np.sqrt(total)
