"""The loss and its pieces against the model's objective computed by hand in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ufm.torch import (  # noqa: E402
    AnnealedLeakyReLU,
    FeaturePenalty,
    PenaltyRamp,
    centre_bias,
    ufm_loss,
)

K, D, COUNTS = 3, 7, (6, 4, 2)
N = sum(COUNTS)


@pytest.fixture
def case():
    torch.manual_seed(2)
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(COUNTS))
    return torch.randn(N, D), labels, torch.nn.Linear(D, K)


def _by_hand(features, labels, classifier, lambda_w, lambda_h, lambda_b, weights=(1, 1, 1)):
    h, y = features.double().numpy(), labels.numpy()
    w, b = classifier.weight.detach().double().numpy(), classifier.bias.detach().double().numpy()
    logits = h @ w.T + b
    total = np.log(np.exp(logits).sum(1))
    losses = (total - logits[np.arange(len(y)), y]) * np.asarray(weights)[y]
    return (
        losses.mean()
        + lambda_w / 2 * (w**2).sum()
        + lambda_h / 2 * (h**2).sum()
        + lambda_b / 2 * (b**2).sum()
    )


def test_loss_is_the_objective(case):
    penalty = FeaturePenalty(0.3, 0.02, 0.05, N)
    assert ufm_loss(*case, penalty).item() == pytest.approx(_by_hand(*case, 0.3, 0.02, 0.05))


def test_loss_with_class_weights(case):
    weights = (0.5, 1.0, 3.0)
    found = ufm_loss(*case, FeaturePenalty(0.3, 0.02, 0.05, N), class_weights=torch.tensor(weights))
    assert found.item() == pytest.approx(_by_hand(*case, 0.3, 0.02, 0.05, weights))


def test_batches_average_to_the_whole(case):
    """Equal batches: the mean of their losses is the loss of all samples."""
    features, labels, classifier = case
    penalty = FeaturePenalty(0.3, 0.02, 0.05, N)
    order = torch.randperm(N)
    parts = [ufm_loss(features[i], labels[i], classifier, penalty) for i in order.split(4)]
    whole = ufm_loss(*case, penalty)
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)


def test_ramp_scales_w_and_features_but_not_the_bias(case):
    found = ufm_loss(*case, FeaturePenalty(0.3, 0.02, 0.05, N), ramp=0.25)
    assert found.item() == pytest.approx(_by_hand(*case, 0.075, 0.005, 0.05))


def test_published_weights_have_no_halves(case):
    """reg_w |W|^2 and so on: twice the lambdas; the block runs' numbers."""
    penalty = FeaturePenalty.from_published(1e-3, 1e-6, 0.01, N)
    assert ufm_loss(*case, penalty).item() == pytest.approx(_by_hand(*case, 2e-3, 2e-6, 0.02))
    assert penalty.lambda_z == pytest.approx(6.3245553e-5, rel=1e-7)
    decayed = penalty.plus_weight_decay(5e-4)
    assert decayed.lambda_z == pytest.approx(7.0710678e-5, rel=1e-7)
    assert decayed.lambda_b == pytest.approx(0.0205)


@pytest.mark.parametrize("split", [0.5, 1.0, 8.0])
def test_split_keeps_lambda_z(split):
    penalty = FeaturePenalty.from_lambda_z(0.004, 0.02, 900, split=split)
    assert penalty.lambda_z == pytest.approx(0.004)
    assert penalty.lambda_w / penalty.lambda_h == pytest.approx(900 / split**2)


def test_a_classifier_without_bias(case):
    features, labels, _ = case
    classifier = torch.nn.Linear(D, K, bias=False)
    found = ufm_loss(features, labels, classifier, FeaturePenalty(0.3, 0.02, 0.05, N))
    same = torch.nn.Linear(D, K)
    with torch.no_grad():
        same.weight.copy_(classifier.weight)
        same.bias.zero_()
    assert found.item() == pytest.approx(_by_hand(features, labels, same, 0.3, 0.02, 0.05))


def test_free_features_reach_the_optimum_of_theory():
    """Gradient descent on the loss, features as free variables, ends at ufm.solve's objective."""
    import ufm

    torch.manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(COUNTS))
    features = torch.randn(N, D, requires_grad=True)
    classifier = torch.nn.Linear(D, K)
    penalty = FeaturePenalty.from_lambda_z(0.05, 0.02, N)
    optimizer = torch.optim.LBFGS(
        [features, *classifier.parameters()], max_iter=400, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = ufm_loss(features, labels, classifier, penalty)
        loss.backward()
        return loss

    optimizer.step(closure)
    optimum = ufm.solve(COUNTS, 0.05, 0.02, tol=1e-9).objective
    assert closure().item() == pytest.approx(optimum, rel=1e-5)
    assert closure().item() >= optimum * (1 - 1e-6)


def test_ramps():
    linear = PenaltyRamp(start=0.2, until=0.5)
    assert [linear(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([0.2, 0.6, 1, 1])
    step = PenaltyRamp(start=0.1, until=1 / 6, shape="step")
    assert [step(p) for p in (0, 0.16, 0.17, 1)] == [0.1, 0.1, 1, 1]
    assert PenaltyRamp(until=0.0)(0.0) == 1.0
    for bad in ({"start": -1.0}, {"until": 1.5}, {"shape": "cubic"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            PenaltyRamp(**bad)


def test_dead_units_recover_while_the_slope_lasts():
    activation = AnnealedLeakyReLU(0.2, until=0.5)
    dead = torch.full((3,), -1.0, requires_grad=True)
    for progress, gradient in ((0.0, 0.2), (0.25, 0.1), (0.5, 0.0)):
        activation.anneal(progress)
        (found,) = torch.autograd.grad(activation(dead).sum(), dead)
        assert found.tolist() == pytest.approx([gradient] * 3)


def test_centred_bias_changes_no_probability(case):
    features, _, classifier = case
    before = torch.softmax(classifier(features), 1).detach()
    centre_bias(classifier)
    assert abs(classifier.bias.sum().item()) < 1e-6
    torch.testing.assert_close(torch.softmax(classifier(features), 1), before)
    centre_bias(torch.nn.Linear(2, 2, bias=False))


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_impossible_penalties_are_refused(value):
    with pytest.raises(ValueError, match="lambda_h"):
        FeaturePenalty(1.0, value, 1.0, 10)
    with pytest.raises(ValueError, match="num_samples"):
        FeaturePenalty(1.0, 1.0, 1.0, 0)


def test_arguments_of_the_wrong_kind_or_shape_are_named():
    layer, features, labels = torch.nn.Linear(4, 3), torch.ones(6, 4), torch.arange(6) % 3
    penalty = FeaturePenalty.from_lambda_z(0.01, lambda_b=0.02, num_samples=6)
    weights = torch.ones(3)
    for given, kind, name in (
        ((features[:, :2], labels, layer, penalty, weights), ValueError, "features"),
        ((features, labels[:2], layer, penalty, weights), ValueError, "labels"),
        ((features, labels, layer, penalty, weights[:2]), ValueError, "class_weights"),
        ((features, labels, layer, penalty, [1.0, 1.0, 1.0]), TypeError, "class_weights"),
        ((3, labels, layer, penalty, weights), TypeError, "features"),
        ((features, labels, 3, penalty, weights), TypeError, "classifier"),
        ((features, labels, layer, 0.01, weights), TypeError, "penalty"),
    ):
        with pytest.raises(kind, match=f"{name} must"):
            ufm_loss(*given[:4], class_weights=given[4])
    with pytest.raises(TypeError, match=r"classifier must be a linear layer .*, got int"):
        centre_bias(3)
