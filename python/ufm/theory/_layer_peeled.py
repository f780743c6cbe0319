"""What :func:`ufm.layer_peeled` returns: :class:`LayerPeeledSolution`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ufm._html import Shown
from ufm._loss import Loss
from ufm.problem import FloatArray
from ufm.solution import BoolArray, Solution, Status


@dataclass(frozen=True, eq=False, repr=False)
class LayerPeeledSolution(Shown):
    """Optimum of the layer-peeled model with its certificate.

    Made by :func:`ufm.layer_peeled`. Arrays follow the order of ``counts``.

    Attributes
    ----------
    counts, energy_w, energy_h, constraint, lambda_b, loss, class_weights, tol
        The problem as it was given.
    radius : float
        Bound of the nuclear norm that the two energies amount to.
    objective : float
        Loss, with the bias penalty, at (Z, b), which meets the constraints.
    dual_objective : float
        No point that meets the constraints has a smaller objective than this.
    relative_gap : float
        (objective - dual_objective) / objective.
    status : Status
        ``CONVERGED`` exactly when ``relative_gap <= tol``.
    penalised : Solution
        Optimum of the penalised problem with the multiplier. With the constraint "averaged" its
        ``counts`` are all 1 and its ``class_weights`` tell the samples.
    factor : float
        Z is ``factor * penalised.Z``: 1 but for what the search left open.
    total_w, total_h : float
        Bounds of ||W||_F^2, and of the sum over classes ("averaged": of ||h_k||^2, "total": of
        n_k ||h_k||^2, with h_k the class mean).
    solves, seconds
        What it took.
    """

    counts: FloatArray
    energy_w: float
    energy_h: float
    constraint: str
    lambda_b: float
    loss: Loss
    class_weights: FloatArray | None
    tol: float
    penalised: Solution
    factor: float
    radius: float
    total_w: float
    total_h: float
    objective: float
    dual_objective: float
    relative_gap: float
    status: Status
    solves: int
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether the certified gap is within the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.counts.size)

    @property
    def lambda_z(self) -> float:
        """The multiplier: the objective falls by this per unit of `radius`.

        Where the constraint does not bind, which takes label smoothing and ample energies, it is
        as small as the tolerance asked for.
        """
        return self.penalised.lambda_z

    @property
    def lambda_w(self) -> float:
        """Weight of ||W||^2 / 2 in the penalised model with the same optimum."""
        return self.lambda_z * math.sqrt(self.total_h / self.total_w)

    @property
    def lambda_h(self) -> float:
        """Weight of half the features' sum of squares in that model."""
        return self.lambda_z * math.sqrt(self.total_w / self.total_h)

    @cached_property
    def Z(self) -> FloatArray:
        """Mean prediction matrix, shape (K, K); column k belongs to class k.

        Raises
        ------
        MemoryError
            If K x K doubles do not fit into the memory that is free.
        """
        return self.factor * self.penalised.Z

    @property
    def b(self) -> FloatArray:
        """Bias, shape (K,)."""
        return self.penalised.b

    def column(self, k: int) -> FloatArray:
        """Mean prediction z_k of class k, shape (K,)."""
        return self.factor * self.penalised.column(k)

    def entry(self, j: int, k: int) -> float:
        """z_jk, the bias-free logit that class k's mean feature gives class j."""
        return self.factor * self.penalised.entry(j, k)

    @property
    def collapsed(self) -> BoolArray:
        """Shape (K,): the class shares its mean prediction with others of equal count."""
        return self.penalised.collapsed

    @property
    def rank(self) -> int:
        """Rank of Z."""
        return self.penalised.rank

    @cached_property
    def singular_values(self) -> FloatArray:
        """Singular values that the radius bounds the sum of, falling; shape (K,)."""
        return self.factor * self.penalised.singular_values

    def factors(self, dim: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Classifier W (K, dim) and class means H (dim, K) that meet the constraints.

        ``W @ H`` is Z; where the constraint binds both energies are used up.

        Parameters
        ----------
        dim : int, optional
            Feature dimension, at least the rank; the rank by default.

        Returns
        -------
        W, H : ndarray

        Raises
        ------
        ValueError
            If dim is below the rank.
        """
        W, H = self.penalised.factors(dim, lambda_w=self.lambda_w, lambda_h=self.lambda_h)
        root = np.sqrt(self.factor)
        return root * W, root * H

    def __repr__(self) -> str:
        adjusted = "" if self.loss == Loss() else f"loss with {self.loss.describe()}, "
        return (
            f"<ufm.LayerPeeledSolution {self.status.name}: K={self.num_classes}, {self.constraint} "
            f"energies {self.energy_w:g} and {self.energy_h:g}, {adjusted}objective "
            f"{self.objective:.8g}, relative gap {self.relative_gap:.1e} (tol {self.tol:.0e}), "
            f"lambda_z {self.lambda_z:.6g}, {self.solves} solves, {self.seconds:.3g} s>"
        )

    def summary(self) -> str:
        """Problem, certificate and verdict as a few lines of text."""
        return "\n".join(
            [
                f"Layer-peeled model: K = {self.num_classes} classes, "
                f"N = {self.counts.sum():.10g}, constraint {self.constraint}",
                f"  energy_w       {self.energy_w:.10g}",
                f"  energy_h       {self.energy_h:.10g}",
                f"  lambda_b       {self.lambda_b:.10g}",
                f"  loss           {self.loss.describe()}",
                f"  status         {self.status.name} ({self.status.value})",
                f"  objective      {self.objective:.12g}",
                f"  lower bound    {self.dual_objective:.12g}",
                f"  relative gap   {self.relative_gap:.2e}  (tol {self.tol:.0e})",
                f"  lambda_z       {self.lambda_z:.10g}  (multiplier)",
                f"  rank of Z      {self.rank}",
                f"  collapsed      {int(self.collapsed.sum())} classes share a mean prediction",
                f"  took           {self.solves} solves, {self.seconds:.3g} s",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """The scalars of the solution as plain Python values."""
        return {
            "K": self.num_classes,
            "energy_w": self.energy_w,
            "energy_h": self.energy_h,
            "constraint": self.constraint,
            "lambda_b": self.lambda_b,
            "loss": self.loss.describe(),
            "objective": self.objective,
            "dual_objective": self.dual_objective,
            "relative_gap": self.relative_gap,
            "tol": self.tol,
            "status": self.status.name,
            "lambda_z": self.lambda_z,
            "lambda_w": self.lambda_w,
            "lambda_h": self.lambda_h,
            "rank": self.rank,
            "collapsed_classes": int(self.collapsed.sum()),
            "solves": self.solves,
            "seconds": self.seconds,
        }
