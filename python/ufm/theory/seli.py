"""The limit of vanishing regularisation: :func:`seli`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._html import Shown
from ufm._memory import explained_memory, require_memory, several_arrays
from ufm.clusters import IntArray
from ufm.problem import FloatArray, check_choice, check_lambda_b, check_positive
from ufm.solution import Solution
from ufm.theory._cluster_matrix import ClusterMatrix, group, plain
from ufm.theory.cosines import Cosines, Side, check_solution
from ufm.theory.geometry import GramMatrix, roots


@dataclass(frozen=True, eq=False, repr=False)
class SeliLimit(Shown):
    """Geometry that the solution tends to as lambda_z -> 0, and how it gets there.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Samples per class.
    cluster_of : ndarray of shape (K,)
        Cluster of each class; clusters are in order of falling count.
    cluster_count, cluster_loss_weight, multiplicity : ndarray of shape (C,)
        Samples and loss weight of each class, and number of classes, of each cluster.
    unregularised_bias : bool
        Whether the limit is that of lambda_b = 0.
    direction : ClusterMatrix
        Z tends to a multiple of it: I - J/K, or I - p 1^T with p = counts / N where the bias is
        not regularised.
    polar : ClusterMatrix
        Q, polar factor U V^T of direction D^(1/2) = U S V^T.
    """

    counts: FloatArray
    cluster_of: IntArray
    cluster_count: FloatArray
    cluster_loss_weight: FloatArray
    multiplicity: FloatArray
    unregularised_bias: bool
    direction: ClusterMatrix
    polar: ClusterMatrix

    @cached_property
    def singular_values(self) -> FloatArray:
        """Singular values of direction D^(1/2), falling; shape (K,), the last one 0."""
        repeats = (self.multiplicity - 1).astype(np.int64)
        between = np.linalg.svd(self._reduced, compute_uv=False)
        between[-1] = 0.0  # the direction has rank K - 1
        root = np.repeat(np.sqrt(self.cluster_count), repeats)
        return np.sort(np.concatenate([between, root]))[::-1]

    def svd(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """U (K, K - 1), S (K - 1,) and V^T (K - 1, K) of direction D^(1/2).

        Raises
        ------
        MemoryError
            If K x K doubles do not fit into memory.
        """
        U, S, Vt = np.linalg.svd(self.direction.dense() * np.sqrt(self.counts))
        return U[:, :-1], S[:-1], Vt[:-1]

    @cached_property
    def classifier(self) -> GramMatrix:
        """W W^T in the limit, up to a factor: U S U^T."""
        return GramMatrix(self.cluster_count, self._roots[0])

    @cached_property
    def class_means(self) -> GramMatrix:
        """M M^T in the limit, up to a factor: D^(-1/2) V S V^T D^(-1/2)."""
        return GramMatrix(self.cluster_count, self._roots[1])

    def wrong_probability(self, lambda_z: float) -> ClusterMatrix:
        """Leading order of P: entry (j, k) is the probability of j for samples of k, j != k.

        P_jk ~ -(lambda_z sqrt(n_k) / pi_k) Q_jk, which is -(lambda_z N / sqrt(n_k)) Q_jk without
        class weights. The diagonal is one less the sum of the others, negative where lambda_z is
        too large for the limit to mean anything.
        """
        scale = check_positive("lambda_z", lambda_z) * self._column_scale
        between = -self.polar.between * scale
        filled = np.where(np.isnan(between), 0.0, between)
        own = 1 - self.multiplicity @ filled + np.diag(filled)
        return ClusterMatrix(self.cluster_of, own, between)

    def prediction(self, lambda_z: float) -> ClusterMatrix:
        """Z to leading and next order, log(1/lambda_z) direction + offset; error O(1/log)."""
        scale = -math.log(check_positive("lambda_z", lambda_z))
        return self.offset.plus(self.direction, scale)

    @cached_property
    def offset(self) -> ClusterMatrix:
        """What Z keeps beside log(1/lambda_z) direction as lambda_z -> 0.

        The logits must give the leading order of P: z_jk - z_kk + b_j - b_k = log lambda_z +
        log(-Q_jk sqrt(n_k) / pi_k), with the columns of Z summing to zero; b tends to zero where
        it is regularised, otherwise Z n = 0 settles it (derived).
        """
        logits = np.log(-self.polar.between * self._column_scale)
        own = np.zeros_like(self.cluster_count)
        offset = ClusterMatrix(self.cluster_of, own, logits).centred()
        if not self.unregularised_bias:
            return offset
        share: FloatArray = self.cluster_count / self.counts.sum()
        return offset.transposed.centred(share).transposed

    @property
    def rate(self) -> float:
        """Coefficient c of the approach: the angle of Z to ``direction`` is c / log(1/lambda_z)."""
        size = self.direction.norm()
        along = self.offset.inner(self.direction) / size
        return math.sqrt(max(self.offset.norm() ** 2 - along**2, 0.0)) / size

    def cosines(self, of: Side = "columns") -> Cosines:
        """Cosines of the class vectors of Z in the limit, -1/(K - 1) where b is regularised."""
        return self._cosines(self.direction, of)

    def predicted_cosines(self, lambda_z: float, of: Side = "columns") -> Cosines:
        """Cosines of the class vectors of ``prediction(lambda_z)``."""
        return self._cosines(self.prediction(lambda_z), of)

    def cosine_rate(self, of: Side = "columns") -> FloatArray:
        """Coefficients (C, C) of the approach of the cosines to their limit.

        The cosine of two classes is the limit + rate / log(1/lambda_z) + O(1/log^2) (derived).
        """
        check_choice("of", of, ("columns", "rows"))
        A, B = self.direction, self.offset
        if of == "rows":
            A, B = A.transposed, B.transposed
        # Derivative of the Gram matrix of A + x B at x = 0.
        start = A.gram()
        change = A.plus(B).gram().plus(start, -1.0).plus(B.gram(), -1.0)
        norm = np.sqrt(start.own)
        growth = change.own / start.own
        cosine = start.between / np.outer(norm, norm)
        rate: FloatArray = change.between / np.outer(norm, norm)
        rate -= 0.5 * cosine * (growth[:, None] + growth)
        return rate

    def distance(self, solution: Solution) -> float:
        """Angle in radians between Z of a solution and ``direction``; pi/2 for Z = 0.

        Raises
        ------
        TypeError, ValueError
            If the argument is no solution for the counts and class weights of this limit.
        """
        check_solution(solution)
        if not np.array_equal(solution.counts, self.counts):
            raise ValueError("solution must be one for the counts of this limit")
        if not np.array_equal(solution.cluster_of, self.cluster_of):
            raise ValueError(
                "solution must group the classes as this limit does: give seli its class_weights"
            )
        Z = ClusterMatrix.of_solution(solution)
        size = Z.norm()
        if size == 0:
            return math.pi / 2
        unit = 1 / self.direction.norm()
        along = Z.inner(self.direction) * unit / size
        # The part across, formed entry by entry: a small angle is lost in the cosine.
        across = Z.times(1 / size).plus(self.direction, -along * unit)
        return math.atan2(across.norm(), along)

    def summary(self) -> str:
        """The limit in a few lines of text."""
        kind = "I - p 1^T" if self.unregularised_bias else "I - J/K"
        lines = [
            f"Z / log(1/lambda_z) -> {kind} as lambda_z -> 0, K = {self.counts.size}",
            f"{'count':>12} {'classes':>8} {'|w|^2':>10} {'cos w':>9} {'|h|^2':>10} {'cos h':>9}",
        ]
        w, h = self.classifier, self.class_means
        rows = zip(
            self.cluster_count,
            self.multiplicity,
            w.matrix.own,
            w.cosines.within,
            h.matrix.own,
            h.cosines.within,
            strict=True,
        )
        for count, k, w_own, w_cos, h_own, h_cos in list(rows)[:12]:
            lines.append(
                f"{count:>12.10g} {int(k):>8} {w_own:>10.5g} {w_cos:>9.5f} {h_own:>10.5g} "
                f"{h_cos:>9.5f}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {
            "K": int(self.counts.size),
            "count": plain(self.cluster_count),
            "multiplicity": [int(k) for k in self.multiplicity],
            "unregularised_bias": self.unregularised_bias,
            "direction": self.direction.to_dict(),
            "polar": self.polar.to_dict(),
            "classifier": self.classifier.to_dict(),
            "class_means": self.class_means.to_dict(),
        }

    # ------------------------------------------------------------------ private

    def _cosines(self, Z: ClusterMatrix, of: Side) -> Cosines:
        side = check_choice("of", of, ("columns", "rows"))
        vectors = Z if side == "columns" else Z.transposed
        return Cosines(self.cluster_count, vectors.gram().cosines())

    @property
    def _column_scale(self) -> FloatArray:
        """sqrt(n_k) / pi_k, which is N / sqrt(n_k) without class weights; shape (C,)."""
        return np.sqrt(self.cluster_count) / self.cluster_loss_weight

    @cached_property
    def _reduced(self) -> FloatArray:
        return _reduced_direction(self.multiplicity, self.cluster_count, self.unregularised_bias)

    @cached_property
    def _roots(self) -> tuple[ClusterMatrix, ClusterMatrix]:
        return roots(
            self.cluster_of,
            self.multiplicity,
            self.cluster_count,
            self._reduced,
            np.sqrt(self.cluster_count),
        )


def seli(
    counts: ArrayLike, *, lambda_b: float = math.inf, class_weights: ArrayLike | None = None
) -> SeliLimit:
    """Geometry of the limit lambda_z -> 0, the simplex-encoded-labels interpolation (SELI).

    As lambda_z -> 0, Z grows like log(1/lambda_z) along the direction I - J/K, and the factors
    follow the singular value decomposition of (I - J/K) D^(1/2). The direction is reached at rate
    1/log only. Any lambda_b > 0 gives the same limit. An unregularised bias (lambda_b = 0)
    grows along with Z and leaves the direction I - p 1^T, p = counts / N, instead (derived). The
    polar factor takes one singular value decomposition of a C x C matrix for C clusters.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class; positive, at least two classes.
    lambda_b : float
        Weight of the bias penalty; only whether it is 0 matters.
    class_weights : array_like of shape (K,), optional
        Loss weight per class; they change the probabilities, not the geometry.

    Returns
    -------
    SeliLimit

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    MemoryError
        If C x C doubles do not fit into memory.

    Notes
    -----
    Hong and Ling, arXiv 2309.09725, for the limit; the next order and its rates are derived.

    Examples
    --------
    >>> import ufm
    >>> counts = [500] * 5 + [100] * 5
    >>> limit = ufm.seli(counts)
    >>> solution = ufm.solve(counts, lambda_z=1e-9, lambda_b=0.02)
    >>> round(limit.distance(solution), 3)
    0.053
    """
    grouped = group(counts, class_weights)
    free = check_lambda_b(lambda_b) == 0
    if grouped.cluster_of.size < 2:
        raise ValueError("counts must name at least two classes for a limit, got one")
    size, k, n = grouped.cluster_of.size, grouped.multiplicity, grouped.count
    require_memory("seli", 6 * k.size, k.size)
    with explained_memory(f"seli {several_arrays(k.size, k.size)}"):
        reduced = _reduced_direction(k, n, free)
        U, _, Vt = np.linalg.svd(reduced)
        polar = U[:, :-1] @ Vt[:-1] / np.sqrt(np.outer(k, k))
    polar[np.diag_indices_from(polar)] -= 1 / k
    share = n / grouped.num_samples if free else np.full(k.size, 1 / size)
    direction = np.broadcast_to(-share[:, None], (k.size, k.size))
    return SeliLimit(
        counts=grouped.count[grouped.cluster_of],
        cluster_of=grouped.cluster_of,
        cluster_count=n,
        cluster_loss_weight=grouped.loss_weight,
        multiplicity=k,
        unregularised_bias=free,
        direction=ClusterMatrix.make(grouped.cluster_of, 1 - share, direction),
        polar=ClusterMatrix.make(grouped.cluster_of, np.diag(polar) + 1, polar),
    )


def _reduced_direction(k: FloatArray, n: FloatArray, unregularised_bias: bool) -> FloatArray:
    """Direction D^(1/2) between clusters, in the basis of normalised indicator vectors."""
    root = np.sqrt(k)
    share = n / (k @ n) if unregularised_bias else np.full(k.size, 1 / k.sum())
    reduced: FloatArray = (np.eye(k.size) - np.outer(root * share, root)) * np.sqrt(n)
    return reduced
