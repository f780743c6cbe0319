"""Bad input raises ValueError or TypeError, names the argument, and does so before any work."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest

import ufm

GOOD = {"counts": [5, 3, 3], "lambda_z": 0.05, "lambda_b": 0.1}

BAD = {
    "counts": [
        [],
        [5, -1],
        [5, 0],
        [5, math.nan],
        [5, math.inf],
        ["five", "three"],
        ["5", "3"],
        "53",
        [[5, 3], [2, 1]],
        [[5], [3]],
        [1e308, 1e308],
        [1e-300, 1e300],
        5,
        None,
        [5, None],
        [5 + 1j, 3],
        [[5, 3], [2]],
        {"a": 5},
    ],
    "lambda_z": [0, 0.0, -1e-3, math.nan, math.inf, -math.inf, "0.1", None, [0.1, 0.2], 1j],
    "lambda_b": [-1e-9, -math.inf, math.nan, "0.1", None, [0.1, 0.2], 1j],
    "class_weights": [
        [1.0, 1.0],
        [1.0] * 4,
        [[1.0, 1.0, 1.0]],
        1.0,
        [1.0, 0.0, 1.0],
        [1.0, -1.0, 1.0],
        [1.0, math.nan, 1.0],
        [1.0, math.inf, 1.0],
        [1.0, 1e308, 1.0],
        [1.0, 5e-324, 1.0],
        ["a", "b", "c"],
    ],
    "tol": [0, -1e-6, math.nan, math.inf, "small", None],
    "method": ["newton", "", "AUTO", None, 3],
    "max_iterations": [0, -1, 1.5, math.nan, "many"],
    "threads": [0, -2, 1.5, "all"],
    "time_limit": [-1.0, math.nan, "long"],
    "progress": [3, "print"],
}
CASES = [(name, value) for name, values in BAD.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda v: repr(v)[:40])
def test_solve_names_the_argument(name, value):
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        ufm.solve(**{**GOOD, name: value})


@pytest.mark.parametrize("value", BAD["counts"], ids=lambda v: repr(v)[:40])
def test_thresholds_names_counts(value):
    with pytest.raises((ValueError, TypeError), match=r"\bcounts\b"):
        ufm.thresholds(value, 0.1)


@pytest.mark.parametrize("value", BAD["lambda_b"], ids=repr)
def test_thresholds_names_lambda_b(value):
    with pytest.raises((ValueError, TypeError), match=r"\blambda_b\b"):
        ufm.thresholds([5, 3], value)


@pytest.mark.parametrize("value", [[1.0], [1.0, 0.0], [1.0, math.nan]], ids=repr)
def test_thresholds_names_class_weights(value):
    with pytest.raises((ValueError, TypeError), match=r"\bclass_weights\b"):
        ufm.thresholds([5, 3], 0.1, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_classes", v) for v in (0, -3, 2.5, "ten")),
        *(("count", v) for v in (0, -1, math.nan, math.inf, "ten")),
        *(("lambda_z", v) for v in (0, -1, math.nan, math.inf, "ten")),
    ],
)
def test_balanced_solution_names_the_argument(name, value):
    arguments = {"num_classes": 3, "count": 10, "lambda_z": 0.01, name: value}
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        ufm.balanced_solution(**arguments)


# Each of these NumPy turns into floats without a word, or almost.
NOT_REAL = ["5", b"5", True, np.complex128(5 + 1j), np.datetime64("2020-01-01"), np.timedelta64(5)]


@pytest.mark.parametrize("value", NOT_REAL, ids=repr)
@pytest.mark.parametrize("name", ["counts", "class_weights"])
def test_arrays_of_objects_hold_real_numbers(name, value):
    objects = np.array([value, 3, 2], dtype=object)
    with pytest.raises(TypeError, match=rf"\b{name} must hold real numbers"):
        ufm.solve(**{**GOOD, name: objects})
    with pytest.raises(TypeError, match=rf"\b{name} must hold real numbers"):
        ufm.solve_many(**{**GOOD, name: objects})
    with pytest.raises(TypeError, match=r"\blambda_z must hold real numbers"):
        ufm.solve_many(**{**GOOD, "lambda_z": objects})


@pytest.mark.parametrize("kind", ["f8", "c16", "U3", "O", "M8[s]"])
def test_empty_arrays_of_any_kind_are_empty(kind):
    with pytest.raises(ValueError, match="counts must name at least one class"):
        ufm.solve(np.empty(0, kind), 0.1, 0.1)
    assert len(ufm.solve_many([5, 3], np.empty(0, kind), 0.1)) == 0


@pytest.mark.parametrize(
    "given",
    [
        lambda counts, weights: ufm.thresholds(counts, 0.1, weights),
        lambda counts, weights: ufm.bias_only_thresholds(counts, 0.1, weights),
        lambda counts, weights: ufm.solve(counts, 0.1, 0.1, class_weights=weights),
        lambda counts, weights: ufm.solve_many(counts, 0.1, 0.1, class_weights=weights),
        lambda counts, weights: ufm.nonnegative_solution(counts, 0.1, 0.1, class_weights=weights),
        lambda counts, weights: ufm.cross_entropy([[1, 0], [0, 1]], [0, 0], counts, weights),
    ],
)
def test_loss_weights_out_of_double_precision_are_told_in_the_users_terms(given):
    with pytest.raises(ValueError, match=r"^counts .*1e-300 at index 0 .*sum of 1e\+300"):
        given([1e-300, 1e300], None)
    with pytest.raises(ValueError, match=r"^class_weights .*1e\+308 times 200.0 at index 1"):
        given([100, 200], [1, 1e308])
    with pytest.raises(ValueError, match=r"^class_weights .*1e-323 times 3.0 at index 0"):
        given([3, 300], [1e-323, 1])


def test_class_weights_of_a_loss_are_told_apart():
    loss = ufm.Loss(class_weights=[1, 1e308])
    with pytest.raises(ValueError, match=r"^class_weights of the loss .*1e\+308 times 200"):
        ufm.solve([100, 200], 0.1, 0.1, loss=loss)


def test_message_tells_what_was_given():
    with pytest.raises(ValueError, match="-7"):
        ufm.solve([5, -7], 0.05, 0.1)
    with pytest.raises(ValueError, match="newton"):
        ufm.solve([5, 7], 0.05, 0.1, method="newton")
    with pytest.raises(ValueError, match="proximal"):  # what is allowed
        ufm.solve([5, 7], 0.05, 0.1, method="newton")


def test_bad_input_is_found_before_any_work():
    counts = np.arange(1.0, 5001.0)  # hours of work, were it started
    start = time.perf_counter()
    with pytest.raises(ValueError, match="method"):
        ufm.solve(counts, 1e-9, 0.01, method="newton")
    with pytest.raises(ValueError, match="tol"):
        ufm.solve(counts, 1e-9, 0.01, tol=-1.0)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("number", [np.float32(0.0625), np.float64(0.0625), Fraction(1, 16)])
def test_numbers_of_every_kind(number):
    expected = ufm.solve([5, 3, 3], 0.0625, 0.0625)
    solution = ufm.solve([5, 3, 3], number, number)
    assert solution.objective == expected.objective
    assert ufm.solve([5, 3, 3], 1, 1).converged
    assert ufm.solve([5, 3, 3], 0.1, np.int64(1), max_iterations=np.int32(500)).converged


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("progress", "counts")])
@pytest.mark.parametrize(
    "value",
    [b"\x1e" * 100_000, "x" * 100_000, 10**5000, [10**5000] * 3, Unshowable()],
    ids=["bytes", "text", "integer", "integers", "unshowable"],
)
def test_message_is_short_whatever_is_given(name, value):
    """Python itself refuses to write integers of more than 4300 digits, and names no argument."""
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b") as caught:
        ufm.solve(**{**GOOD, name: value})
    assert len(str(caught.value)) < 300
