"""Trust-region Newton method for smooth functions with some variables bounded below by zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray

BoolArray = NDArray[np.bool_]

_NEAR = 1e-3
_NOISE = 4e-14  # relative rounding of the function value, with a margin
_TRIALS = 40
_SMALLEST = 1e-14


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
    state = _State.at(function, start, bounded)
    radius = max(1.0, 0.1 * float(np.linalg.norm(start)))
    for iteration in range(max_iterations):
        if state.error <= residual or stop():
            return Minimum(state.z, iteration, state.error)
        step = _accepted(function, state, bounded, radius)
        if step is None:
            return Minimum(state.z, iteration, state.error)
        state, radius = step
    return Minimum(state.z, max_iterations, state.error)


@dataclass(frozen=True, eq=False)
class _State:
    z: FloatArray
    point: Point
    gradient: FloatArray
    error: float

    @staticmethod
    def at(function: Callable[[FloatArray], Point], z: FloatArray, bounded: BoolArray) -> _State:
        point = function(z)
        gradient = point.gradient()
        return _State(z, point, gradient, _projected(z, gradient, bounded))


def _accepted(
    function: Callable[[FloatArray], Point], state: _State, bounded: BoolArray, radius: float
) -> tuple[_State, float] | None:
    """The next state and trust region, or None where no step lowers the function."""
    z, gradient = state.z, state.gradient
    # What is near its bound and pushed there goes there; Newton's step is for the rest.
    near = min(state.error, _NEAR)
    noise = _NOISE * abs(state.point.value)
    for _ in range(_TRIALS):
        held = bounded & (z <= near) & (gradient > 0)
        step = _subproblem(state.point, gradient, ~held, radius)
        step[held] = -z[held]
        trial = z + step
        trial[bounded] = np.maximum(trial[bounded], 0.0)
        move = trial - z
        length = float(np.linalg.norm(move))
        predicted = -float(gradient @ move) - 0.5 * float(move @ state.point.curvature(move))
        actual = state.point.value - function(trial).value
        if 0 < predicted <= noise and actual >= -noise:
            # Too little to be seen in the value: the gradient has to tell.
            after = _State.at(function, trial, bounded)
            if after.error < 0.9 * state.error:
                return after, radius
        if predicted > 0 and actual > 1e-4 * predicted:
            if actual > 0.7 * predicted and length > 0.8 * radius:
                radius *= 2.5
            elif actual < 0.25 * predicted:
                radius = 0.5 * min(radius, length)
            return _State.at(function, trial, bounded), radius
        near *= 0.1
        radius = 0.25 * (min(radius, length) if length > 0 else radius)
        if radius < _SMALLEST:
            return None
    return None


def _projected(z: FloatArray, gradient: FloatArray, bounded: BoolArray) -> float:
    step = gradient.copy()
    step[bounded] = np.minimum(gradient[bounded], z[bounded])
    return float(np.abs(step).max())


def _subproblem(point: Point, gradient: FloatArray, free: BoolArray, radius: float) -> FloatArray:
    """Steihaug's conjugate gradients on the free variables within the trust region."""
    step = np.zeros_like(gradient)
    r = np.where(free, -gradient, 0.0)
    square = float(r @ r)
    if square == 0.0:
        return step
    goal = square * min(1e-4, float(np.sqrt(square))) ** 2
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
