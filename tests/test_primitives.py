"""Singular-value thresholding and the cross-entropy against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ufm
from oracles import numpy_oracle

ENTRIES = st.floats(-100, 100, allow_subnormal=False)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def svt_in_numpy(X: np.ndarray, tau: float) -> np.ndarray:
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    return (U * np.maximum(s - tau, 0.0)) @ Vt


@given(X=hnp.arrays(np.float64, SHAPES, elements=ENTRIES), tau=st.floats(0, 300))
def test_svt_matches_numpy(X, tau):
    result = ufm.svt(X, tau)
    assert result.shape == X.shape and result.dtype == np.float64
    assert result == pytest.approx(svt_in_numpy(X, tau), abs=1e-11 * max(1.0, np.abs(X).max()))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (200, 200), (120, 260), (260, 120)])
def test_svt_of_larger_matrices(shape):
    X = np.random.default_rng(2).normal(size=shape)
    for tau in (0.0, 3.0, 1e3):
        assert ufm.svt(X, tau) == pytest.approx(svt_in_numpy(X, tau), abs=1e-11)
    assert not ufm.svt(X, 1e3).any()


@pytest.mark.parametrize(
    "X",
    [
        [[3, 0], [0, 4]],
        np.arange(12)[::-1].reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(48.0).reshape(6, 8)[::2, ::2],
        np.arange(12, dtype=np.float32).reshape(3, 4),
    ],
    ids=["list", "integers", "fortran", "strided", "float32"],
)
def test_svt_takes_any_layout_and_leaves_it_alone(X):
    before = np.array(X, dtype=float)
    assert ufm.svt(X, 1.5) == pytest.approx(svt_in_numpy(before, 1.5), abs=1e-12)
    assert np.array_equal(np.array(X, dtype=float), before)


def test_svt_rejects_bad_input():
    for bad in (
        [1.0, 2.0],
        [[1.0, 2.0], [3.0]],
        np.zeros((2, 2, 2)),
        [["a"]],
        [[math.nan]],
        [[math.inf, 1.0]],
    ):
        with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
            ufm.svt(bad, 1.0)
    for bad in (-1.0, math.nan, "a", None):
        with pytest.raises((ValueError, TypeError), match=r"\btau\b"):
            ufm.svt(np.eye(2), bad)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300, 1e307])
@pytest.mark.parametrize("shape", [(3, 2), (70, 80)])
def test_svt_is_homogeneous_to_the_ends_of_double_precision(scale, shape):
    X = np.random.default_rng(7).uniform(-1, 1, size=shape)
    for tau in (0.0, 0.3, 3.0):
        expected = svt_in_numpy(X, tau)
        assert ufm.svt(scale * X, scale * tau) / scale == pytest.approx(expected, abs=1e-13)


def test_svt_near_the_largest_double():
    top = np.finfo(float).max
    assert ufm.svt([[top, 0.0], [0.0, top / 2]], top / 2).tolist() == [[top / 2, 0], [0, 0]]
    assert ufm.svt([[top, top]], 1e300) == pytest.approx(np.full((1, 2), top), rel=1e-7)
    assert not ufm.svt([[1e-300]], 1e300).any()
    # An entry of this one grows by 7 %, as smaller singular values that cancelled it go.
    X = np.array(
        [
            [-1.0, 1.0, 0.0, -0.5, 0.0],
            [-1.0, 1.0, 0.0, -1.0, 0.0],
            [-1.0, 1.0, 1.0, -1.0, -0.5],
            [-0.5, -1.0, -1.0, 0.5, 0.5],
            [-0.5, 1.0, 1.0, 1.0, 0.0],
        ]
    )
    tau = 0.5849338543359095
    assert ufm.svt(0.9 * top * X, 0.9 * top * tau) / (0.9 * top) == pytest.approx(
        svt_in_numpy(X, tau), abs=1e-13
    )
    with pytest.raises(ValueError, match=r"X must leave a result within double precision"):
        ufm.svt(top * X, top * tau)


def random_point(K: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 1000, size=K).astype(float)
    return 3 * rng.normal(size=(K, K)), rng.normal(size=K), counts, rng.uniform(0.1, 5.0, size=K)


@pytest.mark.parametrize("K", [1, 2, 5, 30])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_matches_numpy(K, weighted):
    Z, b, counts, weights = random_point(K, K)
    given_weights = weights if weighted else None
    value, grad_z, grad_b = ufm.cross_entropy(Z, b, counts, given_weights)
    pi = numpy_oracle.loss_weights(counts, given_weights)
    p = numpy_oracle.predictions(Z, b)
    assert isinstance(value, float)
    assert value == pytest.approx(float(pi @ p.loss), rel=1e-13, abs=1e-15)
    expected = (p.probability - np.eye(K)) * pi
    assert grad_z == pytest.approx(expected, abs=1e-15)
    assert grad_b == pytest.approx(expected.sum(axis=1), abs=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_gradient_is_its_derivative(weighted):
    Z, b, counts, weights = random_point(6, 3)
    w = weights if weighted else None
    _, grad_z, grad_b = ufm.cross_entropy(Z, b, counts, w)
    rng, step = np.random.default_rng(4), 1e-6
    for _ in range(10):
        U, v = rng.normal(size=(6, 6)), rng.normal(size=6)
        ahead = ufm.cross_entropy(Z + step * U, b + step * v, counts, w)[0]
        behind = ufm.cross_entropy(Z - step * U, b - step * v, counts, w)[0]
        slope = np.sum(grad_z * U) + grad_b @ v
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_cross_entropy_of_extreme_logits():
    value, grad_z, _ = ufm.cross_entropy(np.diag([1e4, -1e4]), np.zeros(2), [1, 1])
    assert value == pytest.approx(5e3)
    assert np.isfinite(grad_z).all()
    near = ufm.cross_entropy(np.diag([40.0, 40.0]), np.zeros(2), [1, 1])
    assert near[0] == pytest.approx(math.exp(-40.0), rel=1e-12)
    assert near[1][0, 0] == pytest.approx(-0.5 * math.exp(-40.0), rel=1e-12)


def test_cross_entropy_at_the_ends_of_double_precision():
    # Large counts or weights multiply nothing on the way.
    Z, b, counts, weights = random_point(4, 1)
    value, grad_z, grad_b = ufm.cross_entropy(Z, b, counts, weights)
    for by, times in ((1e290, 1.0), (1e-290, 1.0), (1.0, 1e290), (1.0, 1e-290)):
        other = ufm.cross_entropy(Z, b, by * counts, times * weights)
        for left, right in zip((value, grad_z, grad_b), other, strict=True):
            assert np.asarray(right) / times == pytest.approx(np.asarray(left), rel=1e-12)
    # Logits near the largest double: the loss is a difference of two of them.
    value, grad_z, _ = ufm.cross_entropy([[-8e307, 0], [8e307, 0]], [0, 0], [1, 1])
    assert value == pytest.approx(8e307)
    assert grad_z == pytest.approx(np.array([[-0.5, 0.25], [0.5, -0.25]]))
    assert ufm.cross_entropy([[1e308, 0], [1e308, 0]], [5e307, 0], [1, 1])[0] == pytest.approx(
        2.5e307
    )


@pytest.mark.parametrize(
    ("Z", "b", "weights", "words"),
    [
        ([[1e308, 0], [-1e308, 0]], [0, 0], None, "Z and b .*column 0"),
        ([[0, 1e308], [0, 1e308]], [1e308, 0], None, "Z and b .*column 1"),
        ([[-1e4, 0], [1e4, 0]], [0, 0], [1e306, 1], "class_weights, Z and b .*1e\\+306"),
    ],
)
def test_cross_entropy_refuses_what_double_precision_cannot_hold(Z, b, weights, words):
    with pytest.raises(ValueError, match=words):
        ufm.cross_entropy(Z, b, [1, 1], weights)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Z", ([[1.0, 2.0], [3.0]], [0.0, 0.0], [1, 1])),
        ("b", (np.zeros((2, 2)), [[0.0], [0.0, 1.0]], [1, 1])),
        ("b", (np.zeros((2, 2)), ["a", "b"], [1, 1])),
        ("Z", ([[1.0, 2.0]], [0.0, 0.0], [1, 1])),
        ("Z", ([[math.nan, 0.0], [0.0, 0.0]], [0.0, 0.0], [1, 1])),
        ("Z", (np.zeros((3, 3)), [0.0, 0.0], [1, 1])),
        ("b", (np.zeros((2, 2)), [0.0], [1, 1])),
        ("b", (np.zeros((2, 2)), [0.0, math.inf], [1, 1])),
        ("counts", (np.zeros((2, 2)), [0.0, 0.0], [1, 0])),
        ("class_weights", (np.zeros((2, 2)), [0.0, 0.0], [1, 1], [1.0])),
        ("class_weights", (np.zeros((2, 2)), [0.0, 0.0], [1, 1], [1.0, -1.0])),
    ],
)
def test_cross_entropy_names_the_argument(name, arguments):
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        ufm.cross_entropy(*arguments)
