"""Angles of predictions, Gram matrices of the factors, confused classes: against dense algebra."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from oracles import numpy_oracle
from problems import problems, two_clusters
from profiles import examples


def solved(problem, tol=1e-8):
    solution = problem.solve(tol=tol)
    assert solution.converged
    return solution


def dense_cosines(gram):
    norm = np.sqrt(np.diag(gram))
    return gram / np.where(norm > 0, norm, np.nan)[:, None] / np.where(norm > 0, norm, np.nan)


def relative(problem, fraction):
    """The problem with lambda_z at a fraction of lambda_max."""
    top = numpy_oracle.lambda_max(problem.counts, problem.lambda_b, problem.class_weights)
    return problem.replace(lambda_z=fraction * top) if top > 0 else problem


# ---------------------------------------------------------------------- cosines


@pytest.mark.parametrize(
    ("of", "stated"),
    [("columns", (-0.138, -0.078, -0.111)), ("rows", (-0.117, -0.100, -0.113))],
)
def test_stated_cosines(of, stated):
    problem = two_clusters((5, 5), (500, 250), 0.1 / 3750)
    found = ufm.prediction_cosines(solved(problem), of)
    assert [*found.within, found.between[0, 1]] == pytest.approx(stated, abs=6e-4)


@given(problem=problems(max_classes=20), of=st.sampled_from(["columns", "rows"]))
@examples(50)
def test_cosines_match_dense_algebra(problem, of):
    solution = problem.solve()
    Z = solution.Z if of == "columns" else solution.Z.T
    expected = dense_cosines(Z.T @ Z)
    found = ufm.prediction_cosines(solution, of).dense()
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nan_to_num(found) == pytest.approx(np.nan_to_num(expected), abs=1e-7)


def test_merged_classes_point_one_way():
    counts = [500] * 5 + [100] * 5
    cosines = ufm.prediction_cosines(ufm.solve(counts, 0.0035, 0.02))
    assert cosines.within[1] == pytest.approx(1, abs=1e-12)
    above = ufm.prediction_cosines(ufm.solve(counts, 0.0051, 0.02, tol=1e-9))
    assert math.isnan(above.within[1]) and above.within[0] == pytest.approx(-0.25, abs=1e-9)


# ---------------------------------------------------------------------- Gram matrices


@given(problem=problems(max_classes=15), balance=st.floats(-2, 2))
@examples(40)
def test_gram_matrices_are_those_of_the_factors(problem, balance):
    solution = problem.solve()
    lambda_w = solution.lambda_z * 10**balance
    found = ufm.predicted_geometry(solution, lambda_w)
    assert found.lambda_w * found.lambda_h == pytest.approx(solution.lambda_z**2, rel=1e-12)
    W, H = solution.factors(lambda_w=lambda_w)
    for gram, dense in ((found.classifier, W @ W.T), (found.class_means, H.T @ H)):
        scale = np.abs(dense).max() if dense.size else 0.0
        assert gram.dense() == pytest.approx(dense, abs=1e-6 * scale + 1e-300)
        norms = np.sqrt(np.diag(dense))
        assert gram.norms[solution.cluster_of] == pytest.approx(
            norms, abs=1e-5 * math.sqrt(scale) + 1e-300
        )
    p = solution.counts / solution.counts.sum()
    away = H - (H @ p)[:, None]
    centred = found.class_means.centred().dense()
    scale = np.abs(H).max() ** 2 if H.size else 0.0
    assert centred == pytest.approx(away.T @ away, abs=1e-6 * scale * W.shape[1] + 1e-300)


@given(problem=problems(max_classes=15, relative=True, smallest=1e-6), balance=st.floats(-2, 2))
@examples(40)
def test_self_duality_is_weighted_by_counts(problem, balance):
    solution = problem.solve()
    lambda_w = solution.lambda_z * 10**balance
    lambda_h = solution.lambda_z**2 / lambda_w
    W, H = solution.factors(lambda_w=lambda_w)
    left = lambda_w * W.T @ W
    right = lambda_h * (H * solution.counts) @ H.T
    scale = np.abs(left).max() if left.size else 0.0
    assert left == pytest.approx(right, abs=1e-9 * scale + 1e-300)


def test_self_duality_fails_under_imbalance_only():
    def misfit(counts):
        W, H = ufm.solve(counts, 0.002, 0.02, tol=1e-9).factors()
        return np.linalg.norm(W / np.linalg.norm(W) - H.T / np.linalg.norm(H))

    assert misfit([100] * 6) < 1e-6
    assert misfit([500] * 3 + [20] * 3) > 0.1


@pytest.mark.parametrize("fraction", [1e-3, 0.4, 0.8])
def test_balanced_geometry_is_an_equiangular_frame(fraction):
    K, n = 7, 30.0
    solution = ufm.solve([n] * K, fraction / (K * math.sqrt(n)), 0.02, tol=1e-10)
    found = ufm.predicted_geometry(solution)
    a = math.log(K / fraction - K + 1)
    assert found.classifier.norms[0] ** 2 == pytest.approx(a * math.sqrt(n) * (1 - 1 / K), rel=1e-5)
    assert found.class_means.norms[0] ** 2 == pytest.approx(
        a / math.sqrt(n) * (1 - 1 / K), rel=1e-5
    )
    for gram in (found.classifier, found.class_means):
        assert gram.cosines.within[0] == pytest.approx(-1 / (K - 1), abs=1e-9)


def test_geometry_of_very_many_classes():
    counts = np.repeat([500, 100], 50_000)
    solution = ufm.solve(counts, 1e-9, 0.02)
    found = ufm.predicted_geometry(solution)
    # <w_j, h_j> sqrt(n_j) sums to the nuclear norm: both Gram matrices have it as their trace.
    nuclear = solution.singular_values.sum()
    k, n = solution.multiplicity, solution.cluster_count
    assert k @ found.classifier.norms**2 == pytest.approx(nuclear, rel=1e-9)
    assert (k * n) @ found.class_means.norms**2 == pytest.approx(nuclear, rel=1e-9)


def test_vanished_classes_have_no_direction():
    solution = ufm.solve([500] * 5 + [100] * 5, 0.0051, 0.02, tol=1e-9)
    found = ufm.predicted_geometry(solution)
    assert found.class_means.norms[1] == 0 and found.classifier.norms[1] == 0
    assert math.isnan(found.class_means.cosines.within[1])
    assert found.class_means.cosines.within[0] == pytest.approx(-0.25, abs=1e-9)


# ---------------------------------------------------------------------- confusion


def dense_predictions(solution, tolerance):
    """Softmax and, per class, the probability of each prediction under random tie-breaking."""
    logits = solution.Z + solution.b[:, None]
    top = logits >= logits.max(axis=0) - tolerance
    return numpy_oracle.predictions(solution.Z, solution.b).probability, top / top.sum(axis=0)


@given(problem=problems(max_classes=20), fraction=st.floats(0.05, 1.1))
@examples(60)
def test_confusion_matches_dense_algebra(problem, fraction):
    solution = relative(problem, fraction).solve(tol=1e-8)
    found = ufm.confusion(solution)
    probability, predicted = dense_predictions(solution, 1e-9)
    assert found.probability.dense() == pytest.approx(probability, abs=1e-12)
    assert found.predicted.dense() == pytest.approx(predicted, abs=1e-12)
    assert found.predicted.dense().sum(axis=0) == pytest.approx(1)
    assert found.accuracy == pytest.approx(np.diag(predicted), abs=1e-12)
    n = solution.counts
    assert found.training_accuracy == pytest.approx(np.diag(predicted) @ n / n.sum(), abs=1e-12)
    logits = solution.Z + solution.b[:, None]
    for k in range(0, n.size, 3):
        assert (found.predicted_classes(k) == np.flatnonzero(predicted[:, k])).all()
        cluster = found.clusters[solution.cluster_of[k]]
        assert cluster.num_predicted == np.count_nonzero(predicted[:, k])
        assert cluster.bias_only == (not solution.Z[:, k].any())
        if n.size > 1:
            margin = logits[k, k] - np.delete(logits[:, k], k).max()
            assert cluster.margin == pytest.approx(margin, abs=2e-9)


@pytest.mark.parametrize(
    ("counts", "lambda_z", "lambda_b", "accuracies", "predicted", "bias_only"),
    [
        # Both clusters apart; the minority merged but told from the majority, merged and taken
        # for the majority, left to the bias; Z = 0.
        ((500, 100), 0.0027, 0.02, (1.0, 1.0), [5], False),
        ((500, 300), 0.00442, 0.5, (1.0, 0.2), [5, 6, 7, 8, 9], False),
        ((500, 100), 0.0038, 0.02, (1.0, 0.0), [0, 1, 2, 3, 4], False),
        ((500, 100), 0.0051, 0.02, (1.0, 0.0), [0, 1, 2, 3, 4], True),
        ((500, 100), 0.0075, 0.02, (0.2, 0.0), [0, 1, 2, 3, 4], True),
    ],
)
def test_regimes_of_the_minority(counts, lambda_z, lambda_b, accuracies, predicted, bias_only):
    found = ufm.confusion(solved(two_clusters((5, 5), counts, lambda_z, lambda_b)))
    assert [cluster.accuracy for cluster in found.clusters] == pytest.approx(accuracies)
    assert found.predicted_classes(5).tolist() == predicted
    assert found.clusters[1].bias_only == bias_only
    assert found.clusters[1].includes_own == (5 in predicted)
    share = np.array(counts) / sum(counts)
    assert found.training_accuracy == pytest.approx(share @ accuracies)
    assert found.balanced_accuracy == pytest.approx(np.mean(accuracies))


def test_without_bias_nothing_is_told_apart_at_zero():
    found = ufm.confusion(ufm.solve([50, 50, 10, 10, 3], 10.0, math.inf))
    assert found.accuracy == pytest.approx(0.2)
    assert found.clusters[0].predicted_clusters == (0, 1, 2)
    assert found.clusters[2].margin == 0


def test_confusion_of_very_many_classes():
    counts = np.repeat([500, 100], 50_000)
    solution = ufm.solve(counts, 1.1 * 10 / counts.sum(), 0.02)
    found = ufm.confusion(solution)
    assert found.clusters[0].accuracy == 1.0
    assert found.clusters[1].accuracy < 1e-4
    total = found.probability.own + found.probability.multiplicity @ found.probability.between
    assert total - np.diag(found.probability.between) == pytest.approx(1, abs=1e-9)


# ---------------------------------------------------------------------- cluster matrices, text


def test_entries_are_those_of_the_dense_matrix():
    solution = ufm.solve([5, 2, 5, 9, 2], 0.03, 0.02)
    P = ufm.confusion(solution).probability
    dense = P.dense()
    assert (np.array([[P.entry(j, k) for k in range(5)] for j in range(5)]) == dense).all()
    assert P.entry(-1, 4) == P.entry(4, 4)
    assert P.norm() == pytest.approx(np.linalg.norm(dense))
    assert math.isnan(P.between[0, 0])  # 9 has no second class


def test_what_does_not_fit_into_memory_says_so():
    counts = np.repeat([500, 100], 1_000_000)
    found = ufm.confusion(ufm.solve(counts, 1e-9, 0.02))
    with pytest.raises(MemoryError, match="2000000 x 2000000"):
        found.probability.dense()


def test_text_and_plain_values():
    solution = ufm.solve([9, 4, 4], 0.1, 0.02)
    for found in (
        ufm.prediction_cosines(solution),
        ufm.predicted_geometry(solution),
        ufm.confusion(solution),
    ):
        assert json.dumps(found.to_dict(), allow_nan=False)
        assert found.summary()
    assert "bias alone" in ufm.confusion(ufm.solve([9, 4, 4], 1.0, 0.02)).summary()


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda s: ufm.prediction_cosines(np.eye(2)), TypeError, "solution"),
        (lambda s: ufm.prediction_cosines(s, "diagonal"), ValueError, "of"),
        (lambda s: ufm.predicted_geometry(None), TypeError, "solution"),
        (lambda s: ufm.predicted_geometry(s, 0.0), ValueError, "lambda_w"),
        (lambda s: ufm.predicted_geometry(s, 1.0, 1.0), ValueError, "lambda_w"),
        (lambda s: ufm.confusion("s"), TypeError, "solution"),
        (lambda s: ufm.confusion(s, tie_tolerance=-1), ValueError, "tie_tolerance"),
    ],
)
def test_bad_input_is_named(call, error, name):
    solution = ufm.solve([9, 4, 4], 0.1, 0.02)
    with pytest.raises(error, match=name):
        call(solution)


def test_refuses_nonnegative_features():
    solution = ufm.nonnegative_solution([500] * 5 + [100] * 5, 0.0035, 0.02)
    with pytest.raises(TypeError, match="solution must have signed features"):
        ufm.predicted_geometry(solution)
