"""Arguments of the solver: anything that Python can hand over."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

import ufm
from fuzz.source import Source, refusals
from oracles import numpy_oracle
from ufm import losses

_WORDS = ("", "5", "0.1", "auto", "factored", "newton", "nan", "counts", "\0", "é" * 100)
_NUMBERS = (
    *(0, -0.0, -1, 1, 2.5, True, math.nan, math.inf, -math.inf),
    *(5e-324, 2.2250738585072014e-308, 1e-300, 1e-160, 1e160, 1e300, 1.7976931348623157e308),
    *(2**31, 2**63, -(2**64), 10**400, Fraction(1, 3), Decimal("0.1"), Decimal("nan"), 1j),
)
_DTYPES = ("f8", "f4", "f2", "g", "i8", "u1", "?", "c16", "O", "U3", "S3", "M8[s]", "m8[s]")
_METHODS = ("auto", "proximal", "factored", "continuum")
_OPTIONS = ("tol", "method", "class_weights", "loss", "max_iterations", "threads", "time_limit")
_NAMES = (
    *("counts", "lambda_z", "lambda_b", *_OPTIONS, "start", "progress"),
    *("smoothing", "offsets", "scales", "epsilon", "tau", "gamma", "beta", "power"),
    *("vectors of a loss", "arguments differ", "factor"),
)
_SAYS = re.compile("|".join(_NAMES))


class _Awkward:
    """Raises whatever is asked of it."""

    def __float__(self) -> float:
        raise ValueError("no number")

    def __repr__(self) -> str:
        return "an awkward object " * 50


def _number(source: Source, low: float, high: float) -> float:
    """Between low and high, evenly in the logarithm."""
    return float(low * (high / low) ** (source.byte() / 255))


def _wild(source: Source, depth: int = 0) -> Any:
    """Any object."""
    kind = source.below(12 if depth < 3 else 8)
    if kind < 3:
        return source.choice(_NUMBERS)
    if kind == 3:
        return np.frombuffer(source.take(8), np.float64)[0]
    if kind == 4:
        return source.choice(_WORDS)
    if kind == 5:
        return source.choice((None, b"5", _Awkward(), object, {}, {"a": 5}, {3}, range(3), ...))
    if kind == 6:
        return source.rest()
    if kind == 7:
        values = np.frombuffer(source.take(3), np.uint8)
        shape = source.choice(((3,), (1, 3), (3, 1), (1, 1, 3)))
        array = values.reshape(shape).astype(source.choice(_DTYPES))
        return source.choice((array, array[::-1], array[:0], np.ma.masked_array(array)))
    return [_wild(source, depth + 1) for _ in range(source.below(5))]


def _argument(source: Source, good: Callable[[], Any]) -> Any:
    """Mostly what is allowed."""
    return _wild(source) if source.byte() >= 224 else good()


def _loss(source: Source, size: int, counts: list[float]) -> Any:
    kind = source.below(7)

    def vector(low: float, high: float) -> Any:
        return _argument(source, lambda: [_number(source, low, high) for _ in range(size)])

    def real(low: float, high: float) -> Any:
        return _argument(source, lambda: _number(source, low, high))

    if kind == 0:
        return ufm.Loss(
            smoothing=real(1e-3, 0.5),
            offsets=None if source.below(2) else vector(0.1, 10.0),
            scales=None if source.below(2) else vector(0.1, 10.0),
            class_weights=None if source.below(2) else vector(0.01, 100.0),
        )
    if kind == 1:
        return losses.label_smoothing(real(1e-3, 0.5))
    if kind == 2:
        return losses.logit_adjustment(counts, real(0.1, 3.0))
    if kind == 3:
        return losses.cdt(counts, real(0.1, 3.0))
    if kind == 4:
        return losses.inverse_frequency(counts, real(0.1, 3.0))
    if kind == 5:
        return losses.class_balanced(counts, real(0.1, 0.9999))
    return losses.vector_scaling(counts, gamma=real(0.1, 1.0), tau=real(0.1, 3.0))


def _counts(source: Source) -> list[float]:
    levels = [_number(source, 1.0, 1e5) for _ in range(1 + source.below(3))]
    return [source.choice(levels) for _ in range(1 + source.below(6))]


def _call(source: Source) -> tuple[dict[str, Any], list[float]]:
    good_counts = _counts(source)
    size = len(good_counts)
    arguments: dict[str, Any] = {
        "counts": _argument(source, lambda: good_counts),
        "lambda_z": _argument(source, lambda: _number(source, 1e-7, 10.0)),
        "lambda_b": _argument(
            source, lambda: source.choice((0, math.inf, 0.02, _number(source, 1e-6, 10.0)))
        ),
    }
    makers: dict[str, Callable[[], Any]] = {
        "tol": lambda: _number(source, 1e-12, 1e-2),
        "method": lambda: source.choice(_METHODS),
        "class_weights": lambda: [_number(source, 0.01, 100.0) for _ in range(size)],
        "loss": lambda: _loss(source, size, good_counts),
        "max_iterations": lambda: 1 + source.below(50),
        "threads": lambda: 1,
        "time_limit": lambda: _number(source, 1e-9, 10.0),
    }
    chosen = source.byte()
    for position, name in enumerate(_OPTIONS):
        # Limits on threads are slow to set, hence rare.
        if chosen >> position & 1 and (name != "threads" or source.byte() >= 240):
            arguments[name] = _argument(source, makers[name])
    # Problems at the edge of double precision may otherwise iterate for long.
    arguments.setdefault("max_iterations", 50)
    return arguments, good_counts


def _check_solution(solution: ufm.Solution, arguments: dict[str, Any]) -> None:
    assert solution.relative_gap >= 0, solution
    assert solution.converged == (solution.relative_gap <= solution.tol)
    assert solution.converged == (solution.status is ufm.Status.CONVERGED)
    assert repr(solution) and solution.summary()
    if math.isfinite(solution.relative_gap):
        slack = 1e-10 * abs(solution.objective)
        assert solution.dual_objective <= solution.objective + slack
        assert np.isfinite(solution.Z).all() and np.isfinite(solution.b).all()
        assert 0 <= solution.rank <= solution.num_classes
    counts, lambda_z, lambda_b = solution.counts, solution.lambda_z, solution.lambda_b
    usual = 1 <= counts.min() and counts.max() <= 1e5 and 1e-7 <= lambda_z <= 10
    usual = usual and (lambda_b in (0, math.inf) or 1e-6 <= lambda_b <= 10)
    weights = solution.class_weights
    usual = usual and (weights is None or (weights.min() >= 0.01 and weights.max() <= 100))
    if usual and solution.loss.is_weighted_cross_entropy:
        exact = numpy_oracle.objective(
            solution.Z, solution.b, counts, lambda_z, lambda_b, solution.class_weights
        )
        assert math.isclose(exact, solution.objective, rel_tol=2e-9), (exact, solution)


def problem(data: bytes) -> None:
    """A call of solve, solve_many or thresholds: refused with the argument's name, or honest."""
    source = Source(data)
    kind = source.below(8)
    with refusals(ValueError, TypeError, names=lambda message: bool(_SAYS.search(message))):
        arguments, _ = _call(source)
        if kind < 6:
            _check_solution(ufm.solve(**arguments), arguments)
        elif kind == 6:
            for name in ("method", "loss"):
                arguments.pop(name, None)
            batch = ufm.solve_many(**{**arguments, "threads": 1})
            for index in range(min(len(batch), 3)):
                _check_solution(batch[index], arguments)
        else:
            found = ufm.thresholds(
                arguments["counts"], arguments["lambda_b"], arguments.get("class_weights")
            )
            assert repr(found) and found.to_dict()
