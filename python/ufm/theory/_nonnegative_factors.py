"""The solution with nonnegative features, and its factors with H >= 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ufm._factors import check_factor_lambdas, factor_balance
from ufm.problem import FloatArray, check_limit
from ufm.solution import Solution
from ufm.theory._nonnegative_atoms import Atoms


@dataclass(frozen=True, eq=False, repr=False)
class NonnegativeSolution(Solution):
    """Optimum of the unconstrained feature model whose features are nonnegative.

    Made by :func:`ufm.nonnegative_solution`; everything a :class:`ufm.Solution` tells, of the
    problem with the gauge in place of the nuclear norm. ``objective`` counts the norms of the
    factors found, which bound the gauge from above; ``dual_objective`` is the value of a feasible
    dual point, so that the gap bounds what either is off.

    A cluster's ``threshold`` is lambda_z at and above which its classes share one mean
    prediction for sure; below it they do so only where their features vanish
    (:func:`ufm.nonnegative_thresholds`).

    Attributes
    ----------
    dual_bound_is_exact : bool
        Whether the largest |G a| over unit a >= 0, that a dual point must keep within lambda_z, was
        found exactly. If not, a larger bound was used: the gap still holds, but may be too large.
    """

    atoms: Atoms | None = None
    dual_bound_is_exact: bool = True

    @cached_property
    def num_units(self) -> int:
        """Number of units, columns of W, in :meth:`factors`."""
        if self.atoms is None:
            return int(np.isin(self.cluster_of, np.flatnonzero(self._own_lift > 0)).sum())
        return sum(math.prod(sizes) for sizes in self._choices)

    def factors(
        self, dim: int | None = None, lambda_w: float | None = None, lambda_h: float | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Classifier and nonnegative class-mean features of a network at the optimum.

        Parameters
        ----------
        dim : int, optional
            Feature dimension, at least :attr:`num_units`, which is the default. The symmetric
            factors made here may use more units than are needed.
        lambda_w, lambda_h : float, optional
            Weights of ||W||^2 / 2 and ||H D^(1/2)||^2 / 2, with lambda_w lambda_h = lambda_z^2.
            One follows from the other; both are lambda_z by default.

        Returns
        -------
        W : ndarray of shape (K, dim)
            Classifier weights, row k for class k.
        H : ndarray of shape (dim, K)
            Feature means, nonnegative, column k for class k; ``W @ H`` is Z.

        Raises
        ------
        ValueError
            If dim is below the number of units or the lambdas do not fit lambda_z.
        MemoryError
            If the factors do not fit into memory.
        """
        lambda_w, lambda_h = check_factor_lambdas(self.lambda_z, lambda_w, lambda_h)
        dim = check_limit("dim", dim)
        units = self.num_units
        if dim is not None and dim < units:
            raise ValueError(f"dim must be at least the number of units {units}, got {dim}")
        width = units if dim is None else dim
        self._require_memory("factors", math.isqrt(2 * self.num_classes * width) + 1)
        W = np.zeros((self.num_classes, width))
        A = np.zeros((width, self.num_classes))
        if self.atoms is None:
            self._separate_units(W, A)
        else:
            self._family_units(self.atoms, W, A)
        # |w| = |a| in every unit; the lambdas shift the balance.
        balance = math.sqrt(factor_balance(lambda_w, lambda_h))
        return W * balance, A / np.sqrt(self.counts) / balance

    def __repr__(self) -> str:
        return super().__repr__().replace("<ufm.Solution", "<ufm.NonnegativeSolution", 1)

    def summary(self) -> str:
        """A table of the problem, the certificate and the verdict per cluster."""
        text = super().summary().replace(" model:", " model, nonnegative features:", 1)
        if not self.dual_bound_is_exact:
            text += "\n\nThe gap is an upper bound: the dual bound was not found exactly."
        return text

    def to_dict(self) -> dict[str, Any]:
        """The scalars of the solution as plain Python values."""
        return {**super().to_dict(), "dual_bound_is_exact": self.dual_bound_is_exact}

    # ------------------------------------------------------------------ private

    @property
    def _between_is_clean(self) -> bool:
        # Newton's method leaves rounding behind where exact zeros belong.
        return False

    @property
    def _own_lift(self) -> FloatArray:
        """Own minus other logit of the classes of each cluster, without bias."""
        own, _ = self._diagonals
        return np.maximum(own, 0.0)

    @cached_property
    def _choices(self) -> list[list[int]]:
        """For each family, in how many ways each of its clusters picks a class."""
        assert self.atoms is not None
        size = self.multiplicity.astype(np.int64)
        return [[int(k) for k in size[column > 0]] for column in self.atoms.v.T]

    def _separate_units(self, W: FloatArray, A: FloatArray) -> None:
        """One unit for each class that has features."""
        K = self.num_classes
        lift = self._own_lift[self.cluster_of] * K / max(K - 1, 1)
        for unit, k in enumerate(np.flatnonzero(lift > 0)):
            # X's column is lift sqrt(n) (e_k - 1/K).
            norm = lift[k] * math.sqrt(self.counts[k] * (1 - 1 / K))
            A[unit, k] = math.sqrt(norm)
            W[:, unit] = -1.0 / K
            W[k, unit] += 1.0
            W[:, unit] *= math.sqrt(norm / (1 - 1 / K))

    def _family_units(self, atoms: Atoms, W: FloatArray, A: FloatArray) -> None:
        """All images of every family under the choices of a class in its clusters."""
        # Atoms are in units of the largest root of the counts.
        scale = float(self.cluster_count.max()) ** 0.25
        members = [np.flatnonzero(self.cluster_of == i) for i in range(self.num_clusters)]
        root = np.sqrt(self.multiplicity)
        unit = 0
        for column, sizes in zip(range(atoms.width), self._choices, strict=True):
            chosen = np.flatnonzero(atoms.v[:, column] > 0)
            images = math.prod(sizes)
            omega, eta = atoms.omega[:, column], atoms.eta[:, column]
            x, v = atoms.x[:, column], atoms.v[:, column]
            factor = scale / math.sqrt(images)
            block = slice(unit, unit + images)
            W[:, block] = (omega / root)[self.cluster_of][:, None] * factor
            A[block] = (x / root)[self.cluster_of][None, :] * factor
            picks = np.indices(sizes).reshape(len(sizes), images)
            for i, pick in zip(chosen, picks, strict=True):
                k = self.multiplicity[i]
                # eta is along (e_l - 1/k), of length sqrt(1 - 1/k).
                tilt = eta[i] / math.sqrt(1 - 1 / k) * factor
                W[members[i], block] -= tilt / k
                rows = members[i][pick]
                columns = np.arange(unit, unit + images)
                W[rows, columns] += tilt
                A[columns, rows] += v[i] * factor
            unit += images
