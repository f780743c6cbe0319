"""Factors with nonnegative features by clusters: X as a sum of symmetric families of atoms.

An atom w a^T with a >= 0 stands for all its images under exchanges of classes within clusters. In
cluster i the vector a is x_i on the unit vector of equal entries, plus v_i on one class, both
nonnegative; w is omega_i on the unit vector of equal entries and eta_i along what a has beyond
its mean. That loses nothing: only the sum and the norm of a within a cluster count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ufm.problem import FloatArray
from ufm.theory._bounded_newton import BoolArray
from ufm.theory._nonnegative_loss import ClusterLoss, LossPoint

_ROUNDING = 1e-15


@dataclass(frozen=True, eq=False)
class Atoms:
    """d families of atoms and the bias: omega, eta, x, v of shape (C, d), b of shape (C,)."""

    omega: FloatArray
    eta: FloatArray
    x: FloatArray
    v: FloatArray
    b: FloatArray

    @property
    def width(self) -> int:
        """Number of families."""
        return int(self.x.shape[1])

    def pack(self) -> FloatArray:
        """All numbers in one vector."""
        parts = (self.omega, self.eta, self.x, self.v, self.b)
        return np.concatenate([part.ravel() for part in parts])

    @staticmethod
    def unpack(vector: FloatArray, clusters: int) -> Atoms:
        """Undo :meth:`pack`."""
        parts = vector[: vector.size - clusters].reshape(4, clusters, -1)
        return Atoms(parts[0], parts[1], parts[2], parts[3], vector[vector.size - clusters :])

    def chosen(self, keep: BoolArray) -> Atoms:
        """The families that are to be kept, (d,)."""
        return self._each(lambda part: part[:, keep])

    def scaled(self, factor: float) -> Atoms:
        """Both sides of each family times a factor."""
        return self._each(lambda part: part * factor)

    def joined(self, other: Atoms) -> Atoms:
        """These families and those of ``other``, with this bias."""
        return Atoms(
            np.hstack([self.omega, other.omega]),
            np.hstack([self.eta, other.eta]),
            np.hstack([self.x, other.x]),
            np.hstack([self.v, other.v]),
            self.b,
        )

    def _each(self, change: Callable[[FloatArray], FloatArray]) -> Atoms:
        omega, eta, x, v = (change(part) for part in (self.omega, self.eta, self.x, self.v))
        return Atoms(omega, eta, x, v, self.b)


@dataclass(frozen=True, eq=False)
class AtomProblem:
    """The objective as a function of atoms: loss + lambda/2 (|w|^2 + |a|^2) + bias penalty.

    ``lambda_x`` is lambda in the scale of the counts' roots. Clusters outside ``present`` (C,) are
    held at features zero.
    """

    loss: ClusterLoss
    lambda_x: float
    lambda_b: float
    present: BoolArray

    @cached_property
    def separable(self) -> BoolArray:
        """Clusters whose classes may differ: at lambda >= pi / sqrt(n) they cannot.

        There even the classes' own columns, 1 - p_own + p_other <= 1 times pi / sqrt(n), leave
        differences within the cluster dual feasible.
        """
        separable: BoolArray = (self.loss.size > 1) & (
            self.lambda_x * (1 + _ROUNDING) < self.loss.alone
        )
        return separable

    def parts(self, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
        """Coefficients c (mean) and r (beyond it) of a, each (C, d)."""
        size = self.loss.size[:, None]
        return atoms.x + atoms.v / np.sqrt(size), atoms.v * np.sqrt(1.0 - 1.0 / size)

    @property
    def per_difference(self) -> FloatArray:
        """1 / (k - 1), the weight of a family in the amplitude alpha."""
        return 1.0 / np.maximum(self.loss.size - 1.0, 1.0)

    def blocks(self, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
        """M and alpha."""
        c, r = self.parts(atoms)
        return atoms.omega @ c.T, (atoms.eta * r).sum(axis=1) * self.per_difference

    def norms(self, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
        """|w| and |a| of each family, (d,)."""
        c, r = self.parts(atoms)
        w = np.sqrt((atoms.omega**2).sum(axis=0) + (atoms.eta**2).sum(axis=0))
        return w, np.sqrt((c**2).sum(axis=0) + (r**2).sum(axis=0))

    def at(self, atoms: Atoms) -> AtomPoint:
        """Evaluate."""
        M, alpha = self.blocks(atoms)
        point = self.loss.at(M, alpha, atoms.b)
        w, a = self.norms(atoms)
        value = point.total + 0.5 * self.lambda_x * float(w @ w + a @ a)
        if self.lambda_b:
            value += 0.5 * self.lambda_b * float(self.loss.size @ atoms.b**2)
        return AtomPoint(self, atoms, point, value)

    def pull_back(
        self, omega: FloatArray, eta: FloatArray, c: FloatArray, r: FloatArray, b: FloatArray
    ) -> FloatArray:
        """Packed derivatives from those in c and r; zero for what is not to move."""
        size = self.loss.size[:, None]
        v = c / np.sqrt(size) + r * np.sqrt(1.0 - 1.0 / size)
        v[~self.separable] = 0.0
        eta[~self.separable] = 0.0
        c[~self.present] = 0.0
        v[~self.present] = 0.0
        return np.concatenate([part.ravel() for part in (omega, eta, c, v, b)])


@dataclass(frozen=True, eq=False)
class AtomPoint:
    """Objective, gradient and curvature at some atoms."""

    problem: AtomProblem
    atoms: Atoms
    point: LossPoint
    value: float

    @cached_property
    def _held(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Gradient in M, inside clusters and in b; c and r. The same for every product."""
        gM, galpha, gb = self.point.gradient()
        within = galpha[:, None] * self.problem.per_difference[:, None]
        return gM, within, gb, *self.problem.parts(self.atoms)

    def gradient(self) -> FloatArray:
        """Gradient, packed like the atoms."""
        problem, atoms = self.problem, self.atoms
        lam = problem.lambda_x
        gM, within, gb, c, r = self._held
        return problem.pull_back(
            gM @ c + lam * atoms.omega,
            within * r + lam * atoms.eta,
            gM.T @ atoms.omega + lam * c,
            within * atoms.eta + lam * r,
            gb + problem.lambda_b * problem.loss.size * atoms.b,
        )

    def curvature(self, direction: FloatArray) -> FloatArray:
        """Hessian times a packed direction."""
        problem, atoms = self.problem, self.atoms
        lam, per = problem.lambda_x, problem.per_difference[:, None]
        step = Atoms.unpack(direction, atoms.b.size)
        gM, within, _, c, r = self._held
        dc, dr = problem.parts(step)
        dM = step.omega @ c.T + atoms.omega @ dc.T
        dalpha = (step.eta * r + atoms.eta * dr).sum(axis=1) * problem.per_difference
        hM, halpha, hb = self.point.curvature(dM, dalpha, step.b)
        across = halpha[:, None] * per
        return problem.pull_back(
            hM @ c + gM @ dc + lam * step.omega,
            across * r + within * dr + lam * step.eta,
            hM.T @ atoms.omega + gM.T @ step.omega + lam * dc,
            across * atoms.eta + within * step.eta + lam * dr,
            hb + problem.lambda_b * problem.loss.size * step.b,
        )
