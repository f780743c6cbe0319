"""What a solve returns: :class:`Solution`, its :class:`Status` and its clusters."""

from __future__ import annotations

import enum
import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ufm import _core, _factors, _spectrum
from ufm._between import Between, DenseBetween
from ufm._html import Shown
from ufm._loss import PLAIN, Loss
from ufm._memory import require_memory
from ufm.clusters import Blocks, Cluster, IntArray
from ufm.problem import FloatArray

BoolArray = NDArray[np.bool_]


class Status(enum.Enum):
    """How a solve ended."""

    CONVERGED = "the relative duality gap is at most the tolerance"
    MAX_ITERATIONS = "the iteration limit came before the tolerance was reached"
    TIME_LIMIT = "the time limit came before the tolerance was reached"
    INTERRUPTED = "stopped by the progress callback before the tolerance was reached"
    NUMERICAL_ERROR = "no further progress was possible in double precision"


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Shown):
    """Optimum of the unconstrained feature model with its certificate.

    Made by :func:`ufm.solve`. Arrays follow the order of ``counts``. Nothing of size K x K is
    held until ``Z`` is asked for.

    Attributes
    ----------
    counts, lambda_z, lambda_b, class_weights, tol
        The problem as it was given.
    objective : float
        Primal value at (Z, b); beyond 64 different counts possibly an upper bound of it, which is
        above it by a part of the gap. The gap counts from this value.
    dual_objective : float
        Value of a feasible dual point: no (Z, b) has a smaller objective than this.
    relative_gap : float
        (objective - dual_objective) / objective, of the exact K-class problem.
    status : Status
        ``CONVERGED`` exactly when ``relative_gap <= tol``.
    iterations, seconds, method, linear_algebra
        What it took: iterations of the method, wall seconds, the method that ran ("closed form"
        where Z is zero between clusters) and the linear algebra it used.
    certificate_seconds : float
        The part of ``seconds`` spent on certifying the problem (and, by "continuum", on carrying
        the solution of the nodes over to all classes); NaN where it was not measured.
    num_nodes : int
        Nodes of the continuum reduction that was accepted, 0 where none was used.
    known_rank : int or None
        The rank where the method tells it at no cost.
    loss : Loss
        What the cross-entropy was taken of; Z and b are before its scales and offsets.
    cluster_of : ndarray of shape (K,)
        Cluster of each class; clusters are in order of falling count.
    """

    counts: FloatArray
    lambda_z: float
    lambda_b: float
    class_weights: FloatArray | None
    tol: float
    cluster_of: IntArray
    cluster_count: FloatArray
    cluster_loss_weight: FloatArray
    multiplicity: FloatArray
    between: Between
    scaled_bias: FloatArray
    amplitudes: FloatArray
    objective: float
    dual_objective: float
    relative_gap: float
    status: Status
    iterations: int
    seconds: float
    method: str
    linear_algebra: str
    num_nodes: int = 0
    known_rank: int | None = None
    certificate_seconds: float = math.nan
    loss: Loss = PLAIN

    @classmethod
    def _made_of(cls, fields: dict[str, Any], **others: Any) -> Self:
        """A solution from all of its fields by name, in a third of the initialiser's time."""
        solution = object.__new__(cls)
        solution.__dict__.update(fields, **others)
        return solution

    # ------------------------------------------------------------------ verdicts

    @property
    def converged(self) -> bool:
        """Whether the certified gap is within the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.counts.size)

    @property
    def num_clusters(self) -> int:
        """Number of groups of classes with equal counts, weights, scales and offsets."""
        return int(self.cluster_count.size)

    @cached_property
    def collapsed(self) -> BoolArray:
        """Shape (K,): the class shares its mean prediction with another class of its cluster."""
        collapsed: BoolArray = self._cluster_collapsed[self.cluster_of]
        return collapsed

    @cached_property
    def b(self) -> FloatArray:
        """Bias, shape (K,)."""
        return (self.scaled_bias / np.sqrt(self.multiplicity))[self.cluster_of]

    # ------------------------------------------------------------------ mean predictions

    @cached_property
    def blocks(self) -> Blocks:
        """Entries of Z by clusters; holds C x C numbers for C clusters.

        Raises
        ------
        MemoryError
            If they do not fit into the memory that is free.
        """
        self._require_memory("blocks", self.num_clusters)
        between = self.between.dense() / self._row_scale[:, None]
        between /= self._column_scale
        own, other = self._diagonals
        between.flat[:: self.num_clusters + 1] = other
        return Blocks(self.cluster_of, own, between)

    @cached_property
    def Z(self) -> FloatArray:
        """Mean prediction matrix, shape (K, K); column k belongs to class k.

        Raises
        ------
        MemoryError
            If K x K doubles do not fit into the memory that is free.
        """
        self._require_memory("Z", self.num_classes)
        if isinstance(self.between, DenseBetween):
            return _core.expand_classes(
                self.cluster_of,
                self.cluster_count,
                self.multiplicity,
                self.between.matrix,
                self.amplitudes,
            )
        blocks = self.blocks
        Z: FloatArray = blocks.between[self.cluster_of[:, None], self.cluster_of]
        Z.flat[:: self.num_classes + 1] = blocks.own[self.cluster_of]
        return Z

    def column(self, k: int) -> FloatArray:
        """Mean prediction z_k of class k, shape (K,)."""
        k = self._class_index("k", k)
        cluster = int(self.cluster_of[k])
        own, other = self._diagonals
        by_cluster = self.between.column(cluster) / self._row_scale / self._column_scale[cluster]
        by_cluster[cluster] = other[cluster]
        column: FloatArray = by_cluster[self.cluster_of]
        column[k] = own[cluster]
        return column

    def entry(self, j: int, k: int) -> float:
        """z_jk, the bias-free logit that class k's mean feature gives class j."""
        j = self._class_index("j", j)
        k = self._class_index("k", k)
        own, other = self._diagonals
        row, column = int(self.cluster_of[j]), int(self.cluster_of[k])
        if row == column:
            return float(own[column] if j == k else other[column])
        value = self.between.entry(row, column)
        return float(value / self._row_scale[row] / self._column_scale[column])

    @cached_property
    def clusters(self) -> list[Cluster]:
        """The clusters in order of falling count."""
        own, other = self._diagonals
        bias = self.scaled_bias / np.sqrt(self.multiplicity)
        weights = (self.cluster_loss_weight * self.counts.sum() / self.cluster_count).tolist()
        thresholds = self.cluster_loss_weight / np.sqrt(self.cluster_count)
        thresholds *= self.loss.threshold_factors(self.representatives)
        order = np.argsort(self.cluster_of, kind="stable")
        members = np.split(order, np.cumsum(self.multiplicity).astype(np.int64)[:-1])
        result = []
        for i in range(self.num_clusters):
            several = self.multiplicity[i] > 1
            result.append(
                Cluster(
                    count=float(self.cluster_count[i]),
                    class_weight=1.0 if self.class_weights is None else weights[i],
                    multiplicity=int(self.multiplicity[i]),
                    indices=members[i],
                    threshold=float(thresholds[i]) if several else math.nan,
                    collapsed=bool(self._cluster_collapsed[i]),
                    own_logit=float(own[i]),
                    other_logit=float(other[i]) if several else math.nan,
                    bias=float(bias[i]),
                    amplitude=float(self.amplitudes[i]) if several else 0.0,
                )
            )
        return result

    # ------------------------------------------------------------------ spectrum and factors

    @cached_property
    def singular_values(self) -> FloatArray:
        """Singular values of Z D^(1/2), falling, with multiplicity; shape (K,).

        As many are positive as :attr:`rank` says: those that rounding alone keeps off zero are
        exactly zero here. The certificate does not use them.
        """
        return _spectrum.singular_values(self)

    @cached_property
    def rank(self) -> int:
        """Rank of Z; for the continuum method, of the solution that its nodes tell."""
        return _spectrum.rank(self)

    def factors(
        self, dim: int | None = None, lambda_w: float | None = None, lambda_h: float | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Classifier and class-mean features of a network at the optimum.

        With X = Z D^(1/2) = U S V^T, W = (lambda_h / lambda_w)^(1/4) U S^(1/2) and
        H = (lambda_w / lambda_h)^(1/4) S^(1/2) V^T D^(-1/2), up to a common rotation.

        Parameters
        ----------
        dim : int, optional
            Feature dimension, at least the rank; the rank by default.
        lambda_w, lambda_h : float, optional
            Weights of ||W||^2 / 2 and ||H||^2 / 2, with lambda_w lambda_h = lambda_z^2. One
            follows from the other; both are lambda_z by default.

        Returns
        -------
        W : ndarray of shape (K, dim)
            Classifier weights, row k for class k.
        H : ndarray of shape (dim, K)
            Feature means, column k for class k; ``W @ H`` is Z.

        Raises
        ------
        ValueError
            If dim is below the rank, the lambdas do not fit lambda_z or double precision, or Z is
            not finite (which an infinite relative gap says).
        MemoryError
            If K x K doubles do not fit into memory.
        """
        return _factors.factors(self, dim, lambda_w, lambda_h)

    # ------------------------------------------------------------------ text

    def __repr__(self) -> str:
        adjusted = (
            "" if self.loss.is_weighted_cross_entropy else f"loss with {self.loss.describe()}, "
        )
        return (
            f"<ufm.Solution {self.status.name}: K={self.num_classes} in {self.num_clusters} "
            f"clusters, {adjusted}objective {self.objective:.8g}, "
            f"relative gap {self.relative_gap:.1e} (tol {self.tol:.0e}), {self.method}, "
            f"{self.seconds:.3g} s>"
        )

    def summary(self) -> str:
        """A table of the problem, the certificate and the verdict per cluster."""
        from ufm._summary import summary

        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """The scalars of the solution as plain Python values."""
        return {
            "K": self.num_classes,
            "clusters": self.num_clusters,
            "lambda_z": self.lambda_z,
            "lambda_b": self.lambda_b,
            "loss": self.loss.describe(),
            "objective": self.objective,
            "dual_objective": self.dual_objective,
            "relative_gap": self.relative_gap,
            "tol": self.tol,
            "status": self.status.name,
            "rank": self.rank,
            "collapsed_classes": int(self.collapsed.sum()),
            "iterations": self.iterations,
            "seconds": self.seconds,
            "method": self.method,
            "linear_algebra": self.linear_algebra,
        }

    # ------------------------------------------------------------------ private

    @property
    def _cluster_collapsed(self) -> BoolArray:
        collapsed: BoolArray = (self.multiplicity > 1) & (self.amplitudes == 0)
        return collapsed

    @cached_property
    def representatives(self) -> IntArray:
        """A class of each cluster, shape (C,)."""
        representatives: IntArray = np.unique(self.cluster_of, return_index=True)[1]
        return representatives

    @property
    def _row_scale(self) -> FloatArray:
        return np.sqrt(self.multiplicity)

    @property
    def _column_scale(self) -> FloatArray:
        return np.sqrt(self.multiplicity * self.cluster_count)

    @cached_property
    def _diagonals(self) -> tuple[FloatArray, FloatArray]:
        """Per cluster, z of a class for itself and for another class of the cluster."""
        root_count = np.sqrt(self.cluster_count)
        mean = self.between.diagonal() / (self.multiplicity * root_count)
        other = mean - self.amplitudes / (self.multiplicity * root_count)
        with np.errstate(invalid="ignore"):  # infinities, where the gap is infinite too
            return other + self.amplitudes / root_count, other

    def _require_memory(self, what: str, size: int) -> None:
        require_memory(what, size, size, "use column(k), entry(j, k) or clusters instead")

    @property
    def _between_is_clean(self) -> bool:
        # The core leaves exact zeros behind in small problems only.
        return self.num_clusters <= _core.small_problem

    def _class_index(self, name: str, index: int) -> int:
        size = self.num_classes
        try:
            index = operator.index(index)
        except TypeError:
            raise TypeError(f"{name} must be a class index, got {index!r:.80}") from None
        if not -size <= index < size:
            raise IndexError(f"{name} must be a class index below {size}, got {index}")
        return index % size
