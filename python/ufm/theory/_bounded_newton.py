"""Trust-region Newton method for smooth functions with some variables bounded below by zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray

BoolArray = NDArray[np.bool_]


class Point(Protocol):
    """A point with its value, gradient and Hessian-vector products."""

    @property
    def value(self) -> float:
        """Function value."""
        ...

    def gradient(self) -> FloatArray:
        """Gradient."""
        ...

    def curvature(self, direction: FloatArray) -> FloatArray:
        """Hessian times a vector."""
        ...


@dataclass(frozen=True)
class Minimum:
    """Where :func:`minimise` ended."""

    vector: FloatArray
    iterations: int
    residual: float


def minimise(
    function: Callable[[FloatArray], Point],
    start: FloatArray,
    bounded: BoolArray,
    *,
    residual: float,
    max_iterations: int,
    stop: Callable[[], bool],
) -> Minimum:
    """Local minimum with ``vector[bounded] >= 0``.

    Ends when no entry of the projected gradient exceeds ``residual``, when no step lowers the
    function any further, at the iteration limit, or when ``stop()``. Directions of negative
    curvature are followed, so that saddle points are left.
    """
    z = start.copy()
    point = function(z)
    gradient = point.gradient()
    radius = max(1.0, 0.1 * float(np.linalg.norm(z)))
    error = _projected(z, gradient, bounded)
    for iteration in range(max_iterations):
        if error <= residual or stop():
            return Minimum(z, iteration, error)
        margin = min(error, 1e-3)
        held = bounded & (z <= margin) & (gradient > 0)
        improved = False
        for _ in range(40):
            step = _subproblem(point, gradient, ~held, radius, error)
            step[held] = -z[held]
            trial = z + step
            trial[bounded] = np.maximum(trial[bounded], 0.0)
            move = trial - z
            predicted = -float(gradient @ move) - 0.5 * float(move @ point.curvature(move))
            length = float(np.linalg.norm(move))
            candidate = function(trial)
            actual = point.value - candidate.value
            noise = 4e-16 * abs(point.value)
            ratio = actual / predicted if predicted > 0 else -1.0
            if predicted > 0 and predicted <= 100 * noise and actual >= -100 * noise:
                new_gradient = candidate.gradient()
                if _projected(trial, new_gradient, bounded) < 0.9 * error:
                    improved = True
                    z, point, gradient = trial, candidate, new_gradient
                    break
            if ratio > 1e-4:
                if ratio > 0.7 and length > 0.8 * radius:
                    radius *= 2.5
                elif ratio < 0.25:
                    radius = 0.5 * min(radius, length)
                improved = True
                z, point, gradient = trial, candidate, candidate.gradient()
                break
            radius = 0.25 * min(radius, length) if length > 0 else 0.25 * radius
            if radius < 1e-14:
                break
        if not improved:
            return Minimum(z, iteration, error)
        error = _projected(z, gradient, bounded)
    return Minimum(z, max_iterations, error)


def _projected(z: FloatArray, gradient: FloatArray, bounded: BoolArray) -> float:
    step = gradient.copy()
    step[bounded] = np.minimum(gradient[bounded], z[bounded])
    return float(np.abs(step).max())


def _subproblem(
    point: Point, gradient: FloatArray, free: BoolArray, radius: float, error: float
) -> FloatArray:
    """Steihaug's conjugate gradients on the free variables within the trust region."""
    step = np.zeros_like(gradient)
    r = np.where(free, -gradient, 0.0)
    square = float(r @ r)
    if square == 0.0:
        return step
    goal = square * min(0.01, float(np.sqrt(square))) ** 2
    p = r.copy()
    for _ in range(min(2 * int(free.sum()) + 10, 500)):
        Hp = np.where(free, point.curvature(p), 0.0)
        bend = float(p @ Hp)
        if bend <= 1e-16 * float(p @ p):
            return step + _to_boundary(step, p, radius) * p
        rate = square / bend
        ahead = step + rate * p
        if float(ahead @ ahead) >= radius * radius:
            return step + _to_boundary(step, p, radius) * p
        step = ahead
        r = r - rate * Hp
        before, square = square, float(r @ r)
        if square <= goal:
            break
        p = r + (square / before) * p
    return step


def _to_boundary(step: FloatArray, p: FloatArray, radius: float) -> float:
    a, b = float(p @ p), float(step @ p)
    c = float(step @ step) - radius * radius
    root = float(np.sqrt(max(b * b - a * c, 0.0)))
    return (root - b) / a if b <= 0 else -c / (b + root)
