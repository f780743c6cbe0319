"""The loss as an object, its named constructors, and how it travels through a solution."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

import ufm
from ufm import losses

COUNTS = [90, 90, 30, 30, 3]


def test_named_constructors():
    n = np.array(COUNTS, float)
    smoothed = losses.label_smoothing(0.1)
    assert (smoothed.smoothing, smoothed.offsets, smoothed.scales) == (0.1, None, None)
    np.testing.assert_allclose(losses.logit_adjustment(COUNTS, 1.5).offsets, 1.5 * np.log(n / 243))
    np.testing.assert_allclose(losses.cdt(COUNTS, 0.3).scales, (n / 90) ** 0.3)
    every = losses.vector_scaling(COUNTS, gamma=0.2, tau=1.0, class_weights=1 / n)
    np.testing.assert_allclose(every.scales, (n / 90) ** 0.2)
    np.testing.assert_allclose(every.offsets, np.log(n / 243))
    np.testing.assert_allclose(every.class_weights, 1 / n)
    np.testing.assert_allclose(losses.inverse_frequency(COUNTS).class_weights, 243 / (5 * n))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-12])
def test_class_balanced_weights(beta):
    n = np.array(COUNTS, float)
    w = losses.class_balanced(COUNTS, beta).class_weights
    assert w @ n == pytest.approx(n.sum(), rel=1e-13)  # a weighted mean over the samples
    effective = [math.fsum(beta**i for i in range(int(count))) for count in n]
    np.testing.assert_allclose(w * effective, w[0] * effective[0], rtol=1e-9)
    if beta == 0:
        assert (w == 1).all()
    if beta > 1 - 1e-9:
        np.testing.assert_allclose(w, 243 / (5 * n), rtol=1e-9)


def test_square_root_weights_level_the_thresholds():
    loss = losses.inverse_frequency(COUNTS, power=0.5)
    levels = [c.collapse for c in ufm.thresholds(COUNTS, 0.02, loss=loss).clusters[:2]]
    assert levels[0] == pytest.approx(levels[1], rel=1e-13)


def test_equality_hash_pickle_and_replace():
    first, second = losses.cdt(COUNTS, 0.3), losses.cdt(np.array(COUNTS), 0.3)
    assert first == second and hash(first) == hash(second) and len({first, second}) == 1
    assert first != losses.cdt(COUNTS, 0.4) and first != ufm.Loss() and first != "cdt"
    assert ufm.Loss(offsets=[0.0, 1.0]) == ufm.Loss(offsets=[-0.0, 1.0])
    assert hash(ufm.Loss(offsets=[0.0, 1.0])) == hash(ufm.Loss(offsets=[-0.0, 1.0]))
    assert pickle.loads(pickle.dumps(first)) == first
    both = dataclasses.replace(first, smoothing=0.1)
    assert both.smoothing == 0.1 and np.array_equal(both.scales, first.scales)


def test_a_loss_cannot_change():
    given = np.ones(3)
    loss = ufm.Loss(scales=given)
    given[0] = 7.0
    assert loss.scales[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        loss.scales[0] = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.smoothing = 0.5


def test_text():
    assert repr(ufm.Loss()) == "<ufm.Loss plain cross-entropy>"
    loss = ufm.Loss(smoothing=0.1, scales=[1, 2], offsets=[-1.25, 3], class_weights=[0.5, 0.5])
    assert loss.describe() == "smoothing 0.1, scales 1 to 2, offsets -1.25 to 3, class weights 0.5"
    assert json.loads(json.dumps(loss.to_dict())) == {
        "smoothing": 0.1,
        "offsets": [-1.25, 3.0],
        "scales": [1.0, 2.0],
        "class_weights": [0.5, 0.5],
    }
    assert ufm.Loss(scales=[1, 1], offsets=[2, 2]).describe() == "plain cross-entropy"


def test_solution_says_its_loss():
    loss = losses.vector_scaling(COUNTS, gamma=0.2, tau=1.0)
    solution = ufm.solve(COUNTS, 0.01, 0.02, loss=loss)
    assert solution.loss is loss
    assert "scales" in repr(solution) and loss.describe() in solution.summary()
    assert solution.to_dict()["loss"] == loss.describe()
    json.dumps(solution.to_dict())
    plain = ufm.solve(COUNTS, 0.01, 0.02)
    assert plain.loss == ufm.Loss() and plain.to_dict()["loss"] == "plain cross-entropy"
    assert "loss with" not in repr(plain)
    found = ufm.thresholds(COUNTS, 0.02, loss=loss)
    assert loss.describe() in found.summary()
    assert found.to_dict()["loss"] == loss.describe()


def test_mean_predictions_are_before_scales_and_offsets():
    loss = ufm.Loss(scales=[2.0, 2.0, 1.0], offsets=[0.0, 0.0, 1.0])
    solution = ufm.solve([30, 30, 5], 0.02, 0.1, loss=loss, tol=1e-10)
    # The bias equation holds with the logits told by the documentation, and no others.
    logits = loss.scales[:, None] * (solution.Z + solution.b[:, None]) + loss.offsets[:, None]
    P = np.exp(logits) / np.exp(logits).sum(axis=0)
    gradient = loss.scales * ((P - np.eye(3)) @ np.array([30, 30, 5]) / 65)
    assert gradient + 0.1 * solution.b == pytest.approx(np.zeros(3), abs=1e-9)
    W, H = solution.factors()
    assert W @ H == pytest.approx(solution.Z, abs=1e-9)


def test_class_weights_inside_and_outside_are_the_same():
    inside = ufm.solve(COUNTS, 0.01, 0.02, loss=losses.inverse_frequency(COUNTS))
    weights = np.array([243 / (5 * n) for n in COUNTS])
    outside = ufm.solve(COUNTS, 0.01, 0.02, class_weights=weights)
    assert inside.objective == pytest.approx(outside.objective, rel=1e-12)
    np.testing.assert_allclose(inside.class_weights, weights)
    assert [c.class_weight for c in inside.clusters] == pytest.approx(
        [c.class_weight for c in outside.clusters]
    )


def test_classes_of_one_count_but_different_offsets_are_apart():
    loss = ufm.Loss(offsets=[0.0, 0.0, 1.0, 1.0])
    solution = ufm.solve([20] * 4, 0.9 * math.sqrt(20) / 80, 0.02, loss=loss)
    assert solution.num_clusters == 2
    assert solution.b[0] == solution.b[1] != solution.b[2] == solution.b[3]
    found = ufm.thresholds([20] * 4, 0.02, loss=loss).clusters
    assert [(c.multiplicity, c.offset) for c in found] == [(2, 1.0), (2, 0.0)]


def test_continuum_with_class_weights_alone_goes_on():
    counts = np.arange(1, 200)
    loss = losses.inverse_frequency(counts, power=0.5)
    solution = ufm.solve(counts, 1e-5, 0.02, loss=loss, method="continuum")
    assert solution.converged and solution.method.startswith("continuum")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"smoothing": 1.0}, ValueError, r"smoothing must lie in \[0, 1\), got 1.0"),
        ({"smoothing": -0.1}, ValueError, "smoothing"),
        ({"smoothing": math.nan}, ValueError, "smoothing"),
        ({"smoothing": "0.1"}, TypeError, "smoothing"),
        ({"scales": [1.0, 0.0]}, ValueError, "scales must be positive and finite, got 0.0 at"),
        ({"scales": [1.0, math.inf]}, ValueError, "scales"),
        ({"scales": [2e-315, 1.0]}, ValueError, "scales must be at least 2.2.*got 2.* at index 0"),
        ({"scales": 2.0}, ValueError, "scales must be one-dimensional"),
        ({"scales": []}, ValueError, "scales must have one entry per class"),
        ({"offsets": [0.0, math.nan]}, ValueError, "offsets must be finite, got nan at index 1"),
        ({"offsets": ["a", "b"]}, TypeError, "offsets"),
        ({"class_weights": [1.0, -1.0]}, ValueError, "class_weights"),
        ({"scales": [1, 2], "offsets": [1, 2, 3]}, ValueError, "offsets has 3, scales has 2"),
    ],
)
def test_bad_losses(options, error, text):
    with pytest.raises(error, match=text):
        ufm.Loss(**options)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.label_smoothing(1.5), ValueError, r"epsilon must lie in \[0, 1\)"),
        (lambda: losses.logit_adjustment([], 1.0), ValueError, "counts"),
        (lambda: losses.logit_adjustment(COUNTS, math.inf), ValueError, "tau"),
        (lambda: losses.cdt(COUNTS, "x"), TypeError, "gamma"),
        (lambda: losses.cdt(COUNTS, 1e4), ValueError, "gamma = 10000.0 takes the scales out"),
        (lambda: losses.class_balanced(COUNTS, 1.0), ValueError, "beta"),
        (lambda: losses.inverse_frequency(COUNTS, 1e4), ValueError, "power = 10000.0"),
        (
            lambda: losses.vector_scaling(COUNTS, class_weights=[1.0]),
            ValueError,
            "class_weights",
        ),
        (lambda: losses.oversample(COUNTS, [1, 2]), ValueError, "factors must have one entry"),
        (lambda: losses.oversample(COUNTS, 0.0), ValueError, "factors"),
        (lambda: losses.oversample(COUNTS, [1, 1, 1, 1, -2]), ValueError, "factors"),
        (lambda: losses.oversample(COUNTS, 1e308), ValueError, "factors"),
        (
            lambda: losses.oversample(COUNTS, 2, repeats_penalised="no"),
            TypeError,
            "repeats_penalised",
        ),
    ],
)
def test_bad_constructor_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("call", [ufm.solve, ufm.thresholds])
def test_bad_loss_arguments(call):
    arguments = (COUNTS, 0.01, 0.02) if call is ufm.solve else (COUNTS, 0.02)
    with pytest.raises(TypeError, match=r"loss must be a ufm.Loss or None, got 'cdt'"):
        call(*arguments, loss="cdt")
    with pytest.raises(ValueError, match="its scales have 2 entries for 5 classes"):
        call(*arguments, loss=ufm.Loss(scales=[1.0, 2.0]))
    weighted = losses.inverse_frequency(COUNTS)
    with pytest.raises(ValueError, match="class_weights must not be given where the loss has"):
        call(*arguments, class_weights=[1] * 5, loss=weighted)


def test_continuum_is_refused_beyond_weights():
    with pytest.raises(ValueError, match="'continuum' knows plain and weighted cross-entropy only"):
        ufm.solve(COUNTS, 0.01, 0.02, method="continuum", loss=losses.label_smoothing(0.1))


def test_oversampling_record():
    plan = losses.oversample([500, 100], [1, 4])
    assert plan.counts.tolist() == [500, 400] and plan.class_weights is None
    assert (plan.num_samples, plan.added) == (900, 300)
    once = losses.oversample([500, 100], [1, 4], repeats_penalised=False)
    assert once.counts.tolist() == [500, 100]
    np.testing.assert_allclose(once.class_weights, [600 / 900, 4 * 600 / 900])
    same = losses.oversample([500, 100], 3, repeats_penalised=False)
    assert same.class_weights == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("beta", [5e-324, 1e-300, 1e-17])
def test_class_balanced_with_a_vanishing_beta_is_plain(beta):
    assert losses.class_balanced([500, 100, 1e308], beta).class_weights.tolist() == [1.0] * 3


@pytest.mark.parametrize("loss", [losses.logit_adjustment, losses.vector_scaling])
def test_offsets_out_of_range_name_tau(loss):
    with pytest.raises(ValueError, match=r"tau = 1e\+308 takes the offsets out of range"):
        loss([500, 100, 1], tau=1e308)


def test_logit_adjustment_of_counts_that_differ_by_all_a_double_holds():
    offsets = losses.logit_adjustment([1e150, 1e-150]).offsets
    assert offsets == pytest.approx([0.0, -300 * math.log(10)], rel=1e-14)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999999, 1 - 2**-53])
def test_class_balanced_weights_keep_their_digits(beta):
    counts = [500, 100, 7]
    exact = [-(1 - beta) / math.expm1(n * math.log1p(beta - 1)) for n in counts]
    factor = sum(counts) / sum(w * n for w, n in zip(exact, counts, strict=True))
    weights = losses.class_balanced(counts, beta).class_weights
    assert weights == pytest.approx([factor * w for w in exact], rel=1e-14)
