"""The optimum among predictions that do not couple clusters: M = 0, amplitudes and bias free.

Where the clusters exert no logits on each other the problem depends on one number per cluster. With
S = sum_j k_j exp(b_j), the classes of cluster i see the rest only through
rho_i = log((S - k_i exp(b_i)) / exp(b_i)), the within-cluster logit difference a_i is a function of
rho_i, and the loss is convex in b with a Hessian that is diagonal plus rank two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ufm.problem import FloatArray
from ufm.theory._cluster_matrix import Grouping

# From here on linear algebra of C x C matrices gives way to that of diagonal plus low rank.
_DENSE_LIMIT = 200
_NEWTON_STEPS = 100
_LONGEST_STEP = 3.0

# The bias is at most a loss weight over lambda_b: from this ratio on it changes no digit.
_AS_GOOD_AS_NO_BIAS = 1e30


@dataclass(frozen=True)
class Decoupled:
    """Clusters with what the decoupled problem needs of them.

    Attributes
    ----------
    multiplicity : ndarray of shape (C,)
        Classes per cluster, k_i.
    loss_weight : ndarray of shape (C,)
        Loss weight of each class, pi_i.
    collapse : ndarray of shape (C,)
        pi_i / sqrt(n_i), the collapse thresholds (of single classes too).
    lambda_b : float
        Weight of the bias penalty.
    """

    multiplicity: FloatArray
    loss_weight: FloatArray
    collapse: FloatArray
    lambda_b: float

    @classmethod
    def of(cls, grouped: Grouping, lambda_b: float) -> Decoupled:
        """The problem of grouped classes."""
        collapse = grouped.loss_weight / np.sqrt(grouped.count)
        return cls(grouped.multiplicity, grouped.loss_weight, collapse, lambda_b)

    @property
    def highest_collapse(self) -> float:
        """Largest collapse threshold of a cluster of several classes, 0 without one."""
        several = self.collapse[self.multiplicity > 1]
        return float(several.max()) if several.size else 0.0

    def norm_at_zero(self) -> tuple[float, FloatArray]:
        """``coupling_norm`` for Z = 0, which no longer depends on lambda_z, and the bias there."""
        start = np.zeros_like(self.multiplicity)
        if start.size == 1:
            return 0.0, start
        return self.coupling_norm(2 * float(self.collapse.max()), start)

    def lambda_max(self) -> float:
        """The lambda_z at and above which Z = 0.

        G at Z = 0 is split into its part between clusters and its parts inside them, whose norms
        are the collapse thresholds (derived).
        """
        return max(self.norm_at_zero()[0], self.highest_collapse)

    def coupling_norm(self, lambda_z: float, start: FloatArray) -> tuple[float, FloatArray]:
        """||G||_2 between clusters at the decoupled optimum, and the bias (C,) there.

        M = 0 is optimal if and only if the norm is at most lambda_z (derived from the optimality
        conditions of Hong and Ling, arXiv 2309.09725). `start` is a first guess of the bias.
        """
        bias = np.zeros_like(start)
        heaviest = float((self.multiplicity * self.loss_weight).max())
        if self.lambda_b / _AS_GOOD_AS_NO_BIAS < heaviest and bias.size > 1:
            bias = self._best_bias(lambda_z, start)
        share, rest = _shares(self.multiplicity, bias)
        outside, _ = self._outside(lambda_z, share, rest)
        # G = diag(d) - y x^T; its diagonal d - y x is collapse * outside.
        d = self.collapse * outside / rest
        root = np.sqrt(self.multiplicity)
        return _norm(d, share / root, root * d), bias

    def _outside(
        self, lambda_z: float, share: FloatArray, rest: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Probability q_i of all other clusters for the samples of cluster i, and dq_i/drho_i."""
        k = self.multiplicity
        log_ratio = np.log(rest) - np.log(share) + np.log(k)  # rho
        with np.errstate(over="ignore"):  # infinitely far above a threshold is above it
            theta = lambda_z / self.collapse
        differs = (k > 1) & (theta < 1)
        outside = 1 / (1 + k * np.exp(-log_ratio))
        slope = outside * (1 - outside)
        if differs.any():
            k, theta, log_ratio = k[differs], theta[differs], log_ratio[differs]
            a = _amplitude(k, theta, log_ratio)
            q = 1 / (1 + (np.exp(a - a / k) + (k - 1) * np.exp(-a / k)) * np.exp(-log_ratio))
            shrink = -np.expm1(-a)
            bend = q / (theta - q * shrink / k)  # (da/drho) / shrink
            outside[differs] = q
            slope[differs] = q * (1 + bend * (shrink / k - 1))
        return outside, slope

    def _best_bias(self, lambda_z: float, start: FloatArray) -> FloatArray:
        bias, last = start, math.inf
        gradient, step = self._newton_step(lambda_z, bias)
        for _ in range(_NEWTON_STEPS):
            size = float(np.abs(step).max())
            # Steps that no longer shrink are rounding.
            if size <= 1e-14 or (size < 1e-7 and size > 0.5 * last):
                return bias
            last = size
            step *= min(1.0, _LONGEST_STEP / size)
            # Along the step the slope of a convex loss only grows: a step is too long once it is
            # steep on the other side. Slopes are known to more digits than differences of the loss.
            slope = float(gradient @ step)
            while True:
                trial = bias - step
                gradient, next_step = self._newton_step(lambda_z, trial)
                if float(gradient @ step) >= -0.5 * slope or float(np.abs(step).max()) < 1e-12:
                    break
                step, slope = 0.5 * step, 0.5 * slope
            bias, step = trial, next_step
        return bias

    def _newton_step(self, lambda_z: float, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient of the loss in the bias, and the inverse of its Hessian times the gradient."""
        k = self.multiplicity
        share, rest = _shares(k, bias)
        outside, slope = self._outside(lambda_z, share, rest)
        total = k * self.loss_weight
        # The gradient of rho_i is v_i = (share - e_i) / rest_i, and the Hessian of the loss
        # sum_i total_i [slope_i v_i v_i^T + outside_i (diag(g_i) - g_i g_i^T)] + lambda_b diag(k)
        # with g_i = (share - share_i e_i) / rest_i.
        flat = total * outside / rest
        if k.size > _DENSE_LIMIT:
            found = self._structured_step(share, rest, flat, total * slope / rest**2, bias)
            if found is not None:
                return found
        g = share / rest[:, None]
        np.fill_diagonal(g, 0.0)
        v = g.copy()
        np.fill_diagonal(v, -1.0)
        total_outside = total * outside
        gradient = v.T @ total_outside + self.lambda_b * k * bias
        hessian = (v.T * (total * slope)) @ v - (g.T * total_outside) @ g
        hessian[np.diag_indices_from(hessian)] += g.T @ total_outside + self.lambda_b * k
        # The loss does not fix the bias's shift, and a tiny lambda_b hardly does. One more term
        # fixes it and does not change steps of zero mean, which are all that occur.
        gauge = float(np.diag(hessian).max()) / float(k @ k)
        return gradient, _linear_solve(hessian + gauge * np.outer(k, k), gradient)

    def _structured_step(
        self,
        share: FloatArray,
        rest: FloatArray,
        flat: FloatArray,
        bend: FloatArray,
        bias: FloatArray,
    ) -> tuple[FloatArray, FloatArray] | None:
        """The same by diagonal plus three directions; None where that is not safe."""
        k = self.multiplicity
        spread = float(flat.sum())
        gradient = share * spread - flat + self.lambda_b * k * bias
        flat_rest = flat / rest
        diagonal = share * (spread - flat) + bend - flat_rest * share**2 + self.lambda_b * k
        if diagonal.min() <= 0 or rest.min() < 1e-3:
            return None
        factors = np.stack([share, flat_rest * share - bend, k], axis=1)
        gauge = float(diagonal.max()) / float(k @ k)
        core = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, gauge]])
        core[0, 0] = float(bend.sum() - flat_rest.sum())
        scaled = factors / diagonal[:, None]
        small = np.eye(3) + core @ (factors.T @ scaled)
        free = gradient / diagonal
        return gradient, free - scaled @ _linear_solve(small, core @ (factors.T @ free))


def _linear_solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


def _shares(k: FloatArray, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of each cluster in sum_j k_j exp(b_j), and that of all others; both (C,)."""
    mass = k * np.exp(bias - bias.max())
    # Sums from both ends, since 1 - share is lost to rounding where one cluster dominates.
    before = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    after = np.concatenate([np.cumsum(mass[::-1])[-2::-1], [0.0]])
    total = mass.sum()
    share: FloatArray = mass / total
    return share, (before + after) / total


def _amplitude(k: FloatArray, theta: FloatArray, log_ratio: FloatArray) -> FloatArray:
    """Logit difference a > 0 inside clusters of k > 1 classes with theta < 1.

    Solves theta t = (1 - theta) (R t^(1/k) + k - 1) + 1 for t = exp(a), in a concave form for
    which Newton's method converges from any start.
    """
    if k.size == 0:
        return np.empty(0)
    log_theta = np.log(theta)
    log_free = np.log((1 - theta) * (k - 1) + 1)
    log_rest = np.log1p(-theta) + log_ratio
    a = np.maximum(log_free, log_rest) - log_theta
    for _ in range(100):
        right = np.logaddexp(log_free, log_rest + a / k)
        slope = 1 - np.exp(log_rest + a / k - right) / k
        step = (log_theta + a - right) / slope
        a = np.maximum(a - step, np.finfo(float).tiny)
        if np.abs(step).max() <= 1e-15 * (1 + a.max()):
            break
    return a


def _norm(d: FloatArray, y: FloatArray, x: FloatArray) -> float:
    """Operator norm of diag(d) - y x^T."""
    size = d.size
    if size <= _DENSE_LIMIT:
        return float(np.linalg.norm(np.diag(d) - np.outer(y, x), 2))
    return _norm_by_inertia(d, y, x)


def _norm_by_inertia(d: FloatArray, y: FloatArray, x: FloatArray) -> float:
    """Operator norm of diag(d) - y x^T in O(C) steps: bisection on a count of eigenvalues.

    G^T G = D^2 + U S U^T with U = (D y, x) has as many eigenvalues above s as the matrices
    s - D^2 and S^(-1) - U^T (s - D^2)^(-1) U have negative ones, less one.
    """
    factors = np.stack([d * y, x], axis=1)
    inverse = np.linalg.inv(np.array([[0.0, -1.0], [-1.0, float(y @ y)]]))
    square = d**2
    low, high = 0.0, float(np.abs(d).max() + np.linalg.norm(x) * np.linalg.norm(y))
    while high - low > 4e-16 * high:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        gap = middle**2 - square
        gap[gap == 0] = np.finfo(float).tiny
        small = inverse - factors.T @ (factors / gap[:, None])
        above = int((gap < 0).sum()) + int((np.linalg.eigvalsh(small) < 0).sum()) - 1
        low, high = (middle, high) if above > 0 else (low, middle)
    return high
