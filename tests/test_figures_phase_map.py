"""The phase diagram: regions against the thresholds, lambda_c against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import ufm
from profiles import examples

pytest.importorskip("matplotlib")

from ufm import figures


def counts_of(k_a: int, k_b: int, n_b: float, ratio: float) -> np.ndarray:
    return np.repeat([n_b * ratio, n_b], [k_a, k_b])


def lambda_c(k_a: int, k_b: int, n_b: float, ratio: float, lambda_b: float) -> float:
    """Smallest lambda_z at which z_B = 0 and no direction separates A from B, in plain numpy.

    With z_B = 0 the classes of A have own logit alpha (1 - 1/k_A), other -alpha / k_A, plus a bias
    that is beta on A and -beta k_A / k_B on B. alpha follows from sqrt(n_A)(1 - p_own + p_other) =
    lambda_z N, beta from lambda_b b = residual; the residual (I - P) D^{1/2} on the span of the two
    indicators must have norm lambda_z N.
    """
    n_a, total = n_b * ratio, n_b * (k_a * ratio + k_b)
    e_a, e_b = np.repeat([1.0, 0], [k_a, k_b]), np.repeat([0, 1.0], [k_a, k_b])
    basis = np.stack([e_a / math.sqrt(k_a), e_b / math.sqrt(k_b)], axis=1)
    root = np.sqrt(counts_of(k_a, k_b, n_b, ratio))

    def predictions(alpha: float, beta: float) -> np.ndarray:
        logits = np.outer(e_a * beta - e_b * beta * k_a / k_b, np.ones(k_a + k_b))
        logits[:k_a, :k_a] += alpha * (np.eye(k_a) - 1 / k_a)
        P = np.exp(logits)
        return P / P.sum(axis=0)

    def alpha_of(beta: float, lambda_z: float) -> float:
        def excess(alpha: float) -> float:
            P = predictions(alpha, beta)
            return math.sqrt(n_a) * (1 - P[0, 0] + P[1, 0]) - lambda_z * total

        return brentq(excess, 0, 500) if excess(0) > 0 else 0.0

    def residual(beta: float, lambda_z: float) -> np.ndarray:
        return (np.eye(k_a + k_b) - predictions(alpha_of(beta, lambda_z), beta)) * root

    def beta_of(lambda_z: float) -> float:
        def force(beta: float) -> float:
            return (residual(beta, lambda_z) @ root)[0] / total - lambda_b * beta

        return brentq(force, -1, 20, xtol=1e-13)

    def excess(lambda_z: float) -> float:
        between = basis.T @ residual(beta_of(lambda_z), lambda_z) @ basis
        return np.linalg.norm(between, 2) - lambda_z * total

    low, high = math.sqrt(n_b) / total, math.sqrt(n_a) / total
    return brentq(excess, low, high) if excess(low) > 0 else low


@pytest.mark.parametrize(
    ("k_a", "k_b", "lambda_b"), [(5, 5, 0.02), (3, 7, 0.02), (5, 5, 1.0), (2, 30, 0.001)]
)
def test_lambda_c_against_its_definition(k_a, k_b, lambda_b):
    ratios = [1.5, 5.0, 40.0]
    found = figures.solve_phase_map(k_a, k_b, 100, lambda_b, ratios=ratios, points=2)
    expected = [lambda_c(k_a, k_b, 100, ratio, lambda_b) for ratio in ratios]
    np.testing.assert_allclose(found.curves["lambda_c"], expected, rtol=1e-6)


def test_known_lambda_c():
    for (k_a, k_b), known in (((5, 5), 0.003983), ((3, 7), 0.006407)):
        found = figures.solve_phase_map(k_a, k_b, ratios=[5, 6], points=2)
        assert found.curves["lambda_c"][0] == pytest.approx(known, abs=6e-7)


@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.floats(1, 1e4),
    st.sampled_from([0.0, 0.001, 0.02, 1.0, math.inf]),
)
@examples(15)
def test_regions_lie_between_the_curves(k_a, k_b, n_b, lambda_b):
    found = figures.solve_phase_map(k_a, k_b, n_b, lambda_b, points=12, threads=1)
    assert found.converged
    curves = found.curves
    total = n_b * (k_a * found.ratios + k_b)
    np.testing.assert_allclose(curves["minority_collapse"], np.sqrt(n_b) / total, rtol=1e-12)
    np.testing.assert_allclose(
        curves["majority_collapse"], np.sqrt(n_b * found.ratios) / total, rtol=1e-12
    )
    heights = found.lambda_z[:, None]
    edges = [curves["minority_collapse"], curves["lambda_c"], curves["lambda_max"]]
    near = np.any([np.abs(heights / edge - 1) < 1e-6 for edge in edges], axis=0)
    expected = sum((heights >= edge).astype(int) for edge in edges)
    np.testing.assert_array_equal(found.regions[~near], expected[~near])


def test_regions_are_those_of_single_solves():
    found = figures.solve_phase_map(4, 6, 30, 0.05, points=7)
    for i, lambda_z in enumerate(found.lambda_z):
        for j, ratio in enumerate(found.ratios):
            solution = ufm.solve(counts_of(4, 6, 30, ratio), lambda_z, 0.05)
            merged = np.array_equal(solution.Z[:, -1], solution.Z[:, -2])
            if not solution.Z.any():
                expected = 3
            elif not merged:
                expected = 0
            else:
                expected = 1 if solution.Z[:, -1].any() else 2
            assert found.regions[i, j] == expected


def test_drawing(tmp_path):
    found = figures.solve_phase_map(points=20)
    drawn = found.draw()
    ax = drawn.axes[0]
    colours = np.asarray(ax.collections[0].get_array()).reshape(20, 20)
    np.testing.assert_array_equal(colours, found.regions)
    curves = {line.get_label(): line for line in ax.lines}
    assert len(curves) == 5
    for key, start in (
        ("minority_collapse", r"$\sqrt{n_B}"),
        ("lambda_c", r"$\lambda_c"),
        ("majority_collapse", r"$\sqrt{n_A}"),
        ("lambda_max", r"$\lambda_{max}"),
    ):
        (line,) = [line for label, line in curves.items() if label.startswith(start)]
        np.testing.assert_array_equal(line.get_ydata(), found.curves[key])
    marks = curves["panels of the paper"]
    assert (5.0, 0.0033) in set(zip(*marks.get_data(), strict=True))
    assert (3.0, 0.005) in set(zip(*marks.get_data(), strict=True))
    assert len(marks.get_xdata()) == 20
    figures.save(drawn, tmp_path / "p.svg")
    assert (tmp_path / "p.svg").stat().st_size < 500_000  # the regions are one image
    short = figures.solve_phase_map(ratios=[1, 2, 4], points=3).draw().axes[0]
    (line,) = [line for line in short.lines if line.get_label() == "panels of the paper"]
    assert line.get_xdata().max() == 4.0  # the others lie outside of this picture
    other = figures.solve_phase_map(count_b=50, points=3).draw()
    assert "panels of the paper" not in {line.get_label() for line in other.axes[0].lines}


def test_unsolved_points_are_shown():
    drawn = figures.phase_map([1, 2], [0.1, 0.2], [[0, -1], [3, 3]])
    words = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert words == ["not solved", "no class collapsed", "all at zero (Z = 0)"]


def test_progress_counts_problems():
    seen = []
    figures.solve_phase_map(points=300, progress=lambda *pair: seen.append(pair))
    done = [pair[0] for pair in seen]
    assert len(done) > 1 and done == sorted(done)
    assert done[-1] == 300 * 300
    assert {pair[1] for pair in seen} == {300 * 300}


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"classes_a": 1}, ValueError, "classes_a must be at least 2"),
        ({"classes_b": 2.5}, TypeError, "classes_b"),
        ({"count_b": 0}, ValueError, "count_b"),
        ({"lambda_b": -1}, ValueError, "lambda_b"),
        ({"points": 1}, ValueError, "points"),
        ({"ratios": [0.5, 2]}, ValueError, "ratios must be at least 1"),
        ({"ratios": [2, 1]}, ValueError, "ratios must be positive, finite and rising"),
        ({"ratios": 3.0}, ValueError, "ratios must hold at least two"),
        ({"lambda_z": [0.0, 1.0]}, ValueError, "lambda_z must be positive"),
        ({"lambda_z": [[1.0]]}, ValueError, "lambda_z must hold at least two"),
    ],
)
def test_bad_input(options, kind, words):
    with pytest.raises(kind, match=words):
        figures.solve_phase_map(**options)


def test_bad_drawing_input():
    for regions, words in (([[0, 1]], "shape"), ([[0, 7], [0, 0]], "-1 to 3")):
        with pytest.raises(ValueError, match=words):
            figures.phase_map([1, 2], [0.1, 0.2], regions)
    with pytest.raises(ValueError, match="curves must be named"):
        figures.phase_map([1, 2], [0.1, 0.2], np.zeros((2, 2)), {"collapse": [1, 2]})
