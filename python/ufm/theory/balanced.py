"""The balanced case in closed form: an equiangular tight frame."""

from __future__ import annotations

import math

import numpy as np

from ufm._between import DenseBetween
from ufm.problem import check_limit, check_positive
from ufm.solution import Solution, Status


def balanced_solution(num_classes: int, count: float, lambda_z: float) -> Solution:
    """Optimum for K classes of equal count, for any lambda_b.

    Z = a (I - J/K) with a = log(1 / (lambda_z sqrt(n)) - K + 1), or 0 where that is not positive,
    and b = 0 (Hong and Ling, arXiv 2309.09725; derived from the optimality conditions).

    Parameters
    ----------
    num_classes : int
        K.
    count : float
        Samples per class, n.
    lambda_z : float
        Weight of the nuclear norm.

    Returns
    -------
    Solution
        With its own certificate; ``lambda_b`` is infinity, since the bias is zero.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> balanced = ufm.balanced_solution(num_classes=10, count=100, lambda_z=0.005)
    >>> balanced.Z.diagonal().round(4)[:3].tolist(), balanced.rank
    ([2.1581, 2.1581, 2.1581], 9)
    """
    size = check_limit("num_classes", num_classes)
    if size is None:
        raise TypeError("num_classes must be a positive integer, got None")
    count = check_positive("count", count)
    lambda_z = check_positive("lambda_z", lambda_z)
    if not 0 < lambda_z * size * math.sqrt(count) < math.inf:
        raise ValueError(
            f"lambda_z * num_classes * sqrt(count) is out of range: lambda_z = {lambda_z}, "
            f"num_classes = {size}, count = {count}"
        )
    # theta = lambda_z N / sqrt(n) is 1 at the collapse threshold.
    theta = lambda_z * size * math.sqrt(count)
    a = math.log1p(size * (1 / theta - 1)) if theta < 1 and size > 1 else 0.0
    wrong = 1 / (size - 1 + math.exp(a))  # probability of each wrong class
    deficit = (size - 1) * wrong
    loss = math.log1p((size - 1) * math.exp(-a))
    amplitude = a * math.sqrt(count)
    objective = loss + lambda_z * (size - 1) * amplitude
    entropy = -(1 - deficit) * math.log1p(-deficit) if deficit < 1 else 0.0
    entropy -= deficit * math.log(wrong) if size > 1 else 0.0
    return Solution(
        counts=np.full(size, count),
        lambda_z=lambda_z,
        lambda_b=math.inf,
        class_weights=None,
        tol=1e-12,
        cluster_of=np.zeros(size, dtype=np.int64),
        cluster_count=np.array([count]),
        cluster_loss_weight=np.array([1 / size]),
        multiplicity=np.array([float(size)]),
        between=DenseBetween(np.zeros((1, 1))),
        scaled_bias=np.zeros(1),
        amplitudes=np.array([amplitude]),
        objective=objective,
        dual_objective=entropy,
        relative_gap=max(objective - entropy, 0.0) / objective if objective else 0.0,
        status=Status.CONVERGED,
        iterations=0,
        seconds=0.0,
        method="closed form",
        linear_algebra="none",
    )
