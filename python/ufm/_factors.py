"""Factors W and H of a solution, and how the two penalties share the norm between them."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np

from ufm._memory import explained_memory, several_arrays
from ufm.problem import FloatArray, check_limit, check_positive

if TYPE_CHECKING:
    from ufm.solution import Solution


def check_factor_lambdas(
    lambda_z: float, lambda_w: float | None, lambda_h: float | None
) -> tuple[float, float]:
    """lambda_w and lambda_h with lambda_w lambda_h = lambda_z^2; one follows from the other."""
    if lambda_w is None and lambda_h is None:
        return lambda_z, lambda_z
    given = {
        name: check_positive(name, value)
        for name, value in (("lambda_w", lambda_w), ("lambda_h", lambda_h))
        if value is not None
    }
    if len(given) == 1:
        ((name, value),) = given.items()
        other = lambda_z * (lambda_z / value)
        if not sys.float_info.min <= other < math.inf:
            missing = "lambda_h" if name == "lambda_w" else "lambda_w"
            raise ValueError(
                f"{name} must leave {missing} = lambda_z**2 / {name} within double precision, "
                f"got {value:.6g} for lambda_z = {lambda_z:.6g}"
            )
        return (value, other) if name == "lambda_w" else (other, value)
    # Written so that no square leaves double precision.
    if not abs((given["lambda_w"] / lambda_z) * (given["lambda_h"] / lambda_z) - 1.0) <= 1e-6:
        raise ValueError(
            f"lambda_w * lambda_h must equal lambda_z**2 for lambda_z = {lambda_z:.6g}, "
            f"got {given['lambda_w']:.6g} * {given['lambda_h']:.6g}"
        )
    return given["lambda_w"], given["lambda_h"]


def factor_balance(lambda_w: float, lambda_h: float) -> float:
    """(lambda_h / lambda_w)^(1/2), by which W W^T is larger than at equal lambdas; never inf."""
    return math.sqrt(lambda_h) / math.sqrt(lambda_w)


def factors(
    solution: Solution, dim: int | None, lambda_w: float | None, lambda_h: float | None
) -> tuple[FloatArray, FloatArray]:
    """What :meth:`ufm.Solution.factors` returns."""
    lambda_w, lambda_h = check_factor_lambdas(solution.lambda_z, lambda_w, lambda_h)
    dim = check_limit("dim", dim)
    size, rank = solution.num_classes, solution.rank
    if dim is not None and dim < rank:
        raise ValueError(f"dim must be at least the rank {rank}, got {dim}")
    width = rank if dim is None else dim
    root = np.sqrt(solution.counts)
    with explained_memory(f"factors {several_arrays(size, size)}"):
        scaled = solution.Z * root
        if not np.isfinite(scaled).all():
            raise ValueError(
                "factors need a solution with finite logits, got one that ended with "
                f"{solution.status.name} and a relative gap of {solution.relative_gap}"
            )
        U, S, Vt = np.linalg.svd(scaled, full_matrices=False)
    W = np.zeros((size, width))
    H = np.zeros((width, size))
    half = np.sqrt(S[:rank])
    balance = math.sqrt(factor_balance(lambda_w, lambda_h))
    W[:, :rank] = balance * (U[:, :rank] * half)
    H[:rank] = half[:, None] * Vt[:rank] / root / balance
    return W, H
