"""Predicted geometry of classifier and class means: :func:`predicted_geometry`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ufm._factors import check_factor_lambdas, factor_balance
from ufm._html import Shown
from ufm.problem import FloatArray
from ufm.solution import Solution
from ufm.theory._cluster_matrix import ClusterMatrix, plain
from ufm.theory._nonnegative_factors import NonnegativeSolution
from ufm.theory.cosines import Cosines, check_solution

_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False, repr=False)
class GramMatrix(Shown):
    """Inner products of one vector per class, cluster by cluster.

    Attributes
    ----------
    count : ndarray of shape (C,)
        Samples per class of each cluster.
    matrix : ClusterMatrix
        Inner products: ``matrix.own`` squared norms, ``matrix.between`` pairs of classes.
    """

    count: FloatArray
    matrix: ClusterMatrix

    @property
    def norms(self) -> FloatArray:
        """Norm of the vectors of each cluster, shape (C,)."""
        return np.sqrt(self.matrix.own)

    @property
    def cosines(self) -> Cosines:
        """Pairwise cosines."""
        return Cosines(self.count, self.matrix.cosines())

    def dense(self) -> FloatArray:
        """The whole Gram matrix, shape (K, K)."""
        return self.matrix.dense()

    def centred(self) -> GramMatrix:
        """Gram matrix of the vectors less their mean over all samples (weights counts / N)."""
        share = self.count / (self.matrix.multiplicity @ self.count)
        centred = self.matrix.centred(share).transposed.centred(share)
        own = np.maximum(centred.own, 0.0)
        return GramMatrix(self.count, ClusterMatrix(centred.cluster_of, own, centred.between))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {
            "count": plain(self.count),
            "norm": plain(self.norms),
            "cosine": plain(self.cosines.between),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Geometry(Shown):
    """What a network at the optimum looks like, up to a rotation of the feature space.

    Attributes
    ----------
    lambda_w, lambda_h : float
        Weights of ||W||^2 / 2 and ||H||^2 / 2.
    classifier : GramMatrix
        Of the rows w_k of W.
    class_means : GramMatrix
        Of the feature means h_k.
    """

    lambda_w: float
    lambda_h: float
    classifier: GramMatrix
    class_means: GramMatrix

    def summary(self) -> str:
        """Norms and cosines per cluster, at most 12 clusters of them."""
        lines = [f"lambda_W = {self.lambda_w:.6g}, lambda_H = {self.lambda_h:.6g}"]
        lines.append(f"{'count':>12} {'|w|':>10} {'cos w':>9} {'|h|':>10} {'cos h':>9}")
        w, h = self.classifier, self.class_means
        columns = (w.count, w.norms, w.cosines.within, h.norms, h.cosines.within)
        lines += [
            f"{count:>12.10g} {wn:>10.5g} {wc:>9.5f} {hn:>10.5g} {hc:>9.5f}"
            for count, wn, wc, hn, hc in list(zip(*columns, strict=True))[:12]
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; NaN becomes None."""
        return {
            "lambda_w": self.lambda_w,
            "lambda_h": self.lambda_h,
            "classifier": self.classifier.to_dict(),
            "class_means": self.class_means.to_dict(),
        }


def predicted_geometry(
    solution: Solution, lambda_w: float | None = None, lambda_h: float | None = None
) -> Geometry:
    """Norms, cosines and Gram matrices of classifier and class means at the optimum.

    With X = Z D^(1/2) = U S V^T (Hong and Ling, arXiv 2309.09725; the form below derived),

        W W^T = sqrt(lambda_H / lambda_W) U S U^T            (rows of W)
        M M^T = sqrt(lambda_W / lambda_H) D^(-1/2) V S V^T D^(-1/2)   (class means),

    so that lambda_W W^T W = lambda_H M^T D M in place of self-duality. Costs the singular value
    decomposition of a C x C matrix for C clusters; K x K arrays are only made by ``dense()``.

    Parameters
    ----------
    solution : Solution
        Result of :func:`ufm.solve`.
    lambda_w, lambda_h : float, optional
        Weights with lambda_w lambda_h = lambda_z^2. One follows from the other; both are lambda_z
        by default.

    Returns
    -------
    Geometry

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed (a NonnegativeSolution is not: its features are not signed)
        or the lambdas do not fit lambda_z.
    MemoryError
        If C x C doubles do not fit into memory.

    Examples
    --------
    >>> import ufm
    >>> solution = ufm.solve([500] * 5 + [250] * 5, lambda_z=0.001, lambda_b=0.02)
    >>> geometry = ufm.predicted_geometry(solution, lambda_w=0.004)
    >>> geometry.lambda_h, geometry.class_means.norms.round(4).tolist()
    (0.00025, [0.7795, 0.9127])
    >>> geometry.classifier.cosines.within.round(4).tolist()
    [-0.1379, -0.0839]
    """
    check_solution(solution)
    if isinstance(solution, NonnegativeSolution):
        raise TypeError(
            "solution must have signed features, got a NonnegativeSolution, whose factors are not "
            "those of a singular value decomposition; see its factors()"
        )
    lambda_w, lambda_h = check_factor_lambdas(solution.lambda_z, lambda_w, lambda_h)
    solution._require_memory("predicted_geometry", solution.num_clusters)
    left, right = roots(
        solution.cluster_of,
        solution.multiplicity,
        solution.cluster_count,
        solution.between.dense(),
        solution.amplitudes,
    )
    balance = factor_balance(lambda_w, lambda_h)
    count = solution.cluster_count.copy()
    return Geometry(
        lambda_w,
        lambda_h,
        GramMatrix(count, left.times(balance)),
        GramMatrix(count, right.times(1 / balance)),
    )


def roots(
    cluster_of: Any,
    multiplicity: FloatArray,
    count: FloatArray,
    between: FloatArray,
    amplitudes: FloatArray,
) -> tuple[ClusterMatrix, ClusterMatrix]:
    """U S U^T and D^(-1/2) V S V^T D^(-1/2) of X, given M (C, C) and the amplitudes (C,)."""
    U, S, Vt = np.linalg.svd(between)
    matrices = []
    for factor, scale in ((U, np.ones_like(count)), (Vt.T, np.sqrt(count))):
        square = (factor * S) @ factor.T
        entries = square / np.sqrt(np.outer(multiplicity, multiplicity))
        entries[np.diag_indices_from(entries)] -= amplitudes / multiplicity
        own = np.diag(entries) + amplitudes
        # A class without features has norm zero: no direction is read off rounding.
        own = np.where(own > _ROUNDING * own.max(), own, 0.0) / scale**2
        matrices.append(ClusterMatrix.make(cluster_of, own, entries / np.outer(scale, scale)))
    return matrices[0], matrices[1]
