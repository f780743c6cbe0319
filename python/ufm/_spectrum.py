"""Singular values and rank of a solution's Z D^(1/2), from its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ufm import _core
from ufm._linalg import ensure_lapack
from ufm._memory import explained_memory, several_arrays
from ufm.problem import FloatArray

if TYPE_CHECKING:
    from ufm.solution import Solution


def rank(solution: Solution) -> int:
    """What :attr:`ufm.Solution.rank` is."""
    if solution.known_rank is not None:
        return solution.known_rank
    return _between_rank(solution) + _within_rank(solution)


def singular_values(solution: Solution) -> FloatArray:
    """What :attr:`ufm.Solution.singular_values` is: as many are positive as the rank says."""
    between = _between_values(solution, "singular_values")
    # Those beyond the rank are rounding, or zeros that the method could not reach exactly.
    between[max(solution.rank - _within_rank(solution), 0) :] = 0.0
    repeats = (solution.multiplicity - 1).astype(np.int64)
    values = np.concatenate([between, np.repeat(solution.amplitudes, repeats)])
    return np.sort(values)[::-1]


def _within_rank(solution: Solution) -> int:
    return int((solution.multiplicity[solution.amplitudes > 0] - 1).sum())


def _between_rank(solution: Solution) -> int:
    if solution._between_is_clean:
        values = _between_values(solution, "rank")
        rounding = values[0] * np.finfo(float).eps * 8 * solution.num_clusters
        return int((values > rounding).sum())
    solution._require_memory("rank", solution.num_clusters)
    with explained_memory(_several(solution, "rank")):
        return _core.between_rank(
            solution.cluster_count,
            solution.cluster_loss_weight,
            solution.multiplicity,
            **solution.loss.cluster_arguments(solution.representatives),
            lambda_z=solution.lambda_z,
            lambda_b=solution.lambda_b,
            m=solution.between.dense(),
            scaled_bias=solution.scaled_bias,
        )


def _between_values(solution: Solution, what: str) -> FloatArray:
    """Singular values of M, falling; shape (C,)."""
    solution._require_memory(what, solution.num_clusters)
    if solution.num_clusters >= _core.lapack_crossover:
        ensure_lapack()
    with explained_memory(_several(solution, what)):
        return _core.singular_values(solution.between.dense())


def _several(solution: Solution, what: str) -> str:
    return f"{what} {several_arrays(solution.num_clusters, solution.num_clusters)}"
