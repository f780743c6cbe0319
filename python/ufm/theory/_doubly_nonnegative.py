"""Bound of u^T B u over unit vectors u >= 0 by a small semidefinite program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray

_MAX_ITERATIONS = 60
_STAY_INSIDE = 0.95


def doubly_nonnegative_bound(B: FloatArray, target: float) -> float:
    """Approximate least top eigenvalue of B + N over symmetric N >= 0.

    Any such N gives a bound of u^T B u over unit u >= 0, and the number returned belongs to an N
    that was found, so that it is one too. N lives where B is negative. The dual problem, to
    maximise <B, Y> over positive semidefinite Y of trace 1 with Y >= 0 there, tells when the
    target is out of reach. Both are followed along the central path from strictly feasible points.

    Parameters
    ----------
    B : ndarray of shape (n, n)
        Symmetric.
    target : float
        The search ends when the bound is at most this, or cannot get there.
    """
    rows, columns = np.nonzero(np.triu(B, 1) < 0)
    path = _Path.start(B, rows, columns)
    best = np.inf
    for _ in range(_MAX_ITERATIONS):
        best = min(best, float(np.linalg.eigvalsh(B + path.matrix(path.N))[-1]))
        out_of_reach = float((B * path.Y).sum()) > target
        if best <= target or out_of_reach or path.gap < 1e-15 * abs(path.t):
            break
        try:
            path = path.advanced()
        except np.linalg.LinAlgError:  # the last digits are reached
            break
    return best


@dataclass(frozen=True, eq=False)
class _Path:
    """A strictly feasible pair: S = t I - B - N and N positive, Y and its entries there too."""

    B: FloatArray
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    t: float
    N: FloatArray
    Y: FloatArray

    @staticmethod
    def start(B: FloatArray, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> _Path:
        n = B.shape[0]
        off = float(np.abs(B[rows, columns]).mean()) if rows.size else float(np.abs(B).mean())
        N = off - B[rows, columns]
        Y = np.eye(n) + 0.1
        path = _Path(B, rows, columns, 0.0, N, Y / np.trace(Y))
        top = float(np.linalg.eigvalsh(B + path.matrix(N))[-1])
        return _Path(B, rows, columns, top + 0.1 * abs(top) + off, N, path.Y)

    def matrix(self, entries: FloatArray) -> FloatArray:
        M = np.zeros_like(self.B)
        M[self.rows, self.columns] = entries
        M[self.columns, self.rows] = entries
        return M

    @property
    def S(self) -> FloatArray:
        return self.t * np.eye(self.B.shape[0]) - self.B - self.matrix(self.N)

    @property
    def z(self) -> FloatArray:
        """What the multipliers of N >= 0 are by feasibility."""
        entries: FloatArray = 2.0 * self.Y[self.rows, self.columns]
        return entries

    @property
    def gap(self) -> float:
        """Mean product of a variable and its multiplier."""
        total = float((self.S * self.Y).sum()) + float(self.N @ self.z)
        return total / float(self.B.shape[0] + self.N.size)

    def advanced(self) -> _Path:
        """One predictor-corrector step of the Helmberg-Kojima-Monteiro direction."""
        equations = _Equations(self)
        predicted = self.moved(*equations.direction(0.0))
        share = min(max((predicted.gap / self.gap) ** 2, 1e-3), 0.8)
        return self.moved(*equations.direction(share * self.gap))

    def moved(self, dt: float, dN: FloatArray, dY: FloatArray) -> _Path:
        """As far as both sides stay inside."""
        dS = dt * np.eye(self.B.shape[0]) - self.matrix(dN)
        primal = min(_room(self.S, dS), _ratio(self.N, dN))
        dual = min(_room(self.Y, dY), _ratio(self.z, 2.0 * dY[self.rows, self.columns]))
        p, d = min(1.0, _STAY_INSIDE * primal), min(1.0, _STAY_INSIDE * dual)
        return _Path(
            self.B, self.rows, self.columns, self.t + p * dt, self.N + p * dN, self.Y + d * dY
        )


class _Equations:
    """The Newton equations of one point, in t and N."""

    def __init__(self, path: _Path) -> None:
        self.path = path
        inverse = np.linalg.inv(path.S)
        self.inverse = inverse = 0.5 * (inverse + inverse.T)
        k, m, Y = path.rows, path.columns, path.Y
        product = inverse @ Y
        A = np.empty((k.size + 1, k.size + 1))
        A[0, 0] = np.trace(product)
        A[0, 1:] = A[1:, 0] = -(product + product.T)[k, m]
        kk, km, mk, mm = np.ix_(k, k), np.ix_(k, m), np.ix_(m, k), np.ix_(m, m)
        A[1:, 1:] = (
            Y[km] * inverse[mk] + Y[kk] * inverse[mm] + Y[mm] * inverse[kk] + Y[mk] * inverse[km]
        )
        A[1:, 1:] += np.diag(path.z / path.N)
        self.scale = 1.0 / np.sqrt(np.diagonal(A))
        self.matrix = 0.5 * (A + A.T) * self.scale[:, None] * self.scale

    def direction(self, gap: float) -> tuple[float, FloatArray, FloatArray]:
        """Steps in t, N and Y towards the point of the central path with this gap."""
        path, inverse = self.path, self.inverse
        right = np.empty(path.N.size + 1)
        right[0] = gap * np.trace(inverse) - 1.0
        right[1:] = gap / path.N - 2.0 * gap * inverse[path.rows, path.columns]
        step = self.scale * np.linalg.solve(self.matrix, self.scale * right)
        dt, dN = float(step[0]), step[1:]
        dS = dt * np.eye(inverse.shape[0]) - path.matrix(dN)
        change = inverse @ dS @ path.Y
        return dt, dN, gap * inverse - path.Y - 0.5 * (change + change.T)


def _room(X: FloatArray, dX: FloatArray) -> float:
    """Largest step for which X + step dX is positive semidefinite."""
    L = np.linalg.cholesky(X)
    T = np.linalg.solve(L, np.linalg.solve(L, dX).T)
    lowest = float(np.linalg.eigvalsh(0.5 * (T + T.T))[0])
    return -1.0 / lowest if lowest < 0 else np.inf


def _ratio(x: FloatArray, dx: FloatArray) -> float:
    falling = dx < 0
    return float((-x[falling] / dx[falling]).min()) if falling.any() else np.inf
