"""The advisor on every count list, with its recommendations solved again."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufm
from oracles import numpy_oracle

LISTS = ("cifar10_lt_ir100", "cifar100_lt_ir10", "cifar100_lt_ir100", "places_lt", "lvis_v1")
LAMBDA_B = 0.01


def advise(counts, multiple, **options):
    """Return the advice at a multiple of the threshold of the smallest classes."""
    lambda_z = multiple * math.sqrt(counts.min()) / counts.sum()
    return ufm.advise(counts, lambda_z=lambda_z, lambda_b=LAMBDA_B, **options)


def shared(counts):
    """Return which classes share their count with another."""
    _, inverse, sizes = np.unique(counts, return_inverse=True, return_counts=True)
    return (sizes > 1)[inverse]


@pytest.mark.parametrize("protect", ["tied", "all"])
@pytest.mark.parametrize("name", LISTS)
def test_recommendations_are_confirmed(name, protect, counts_of):
    counts = counts_of(name)
    advice = advise(counts, 1.5, protect=protect, cluster_checks=4)
    expected = shared(counts) & (np.sqrt(counts) <= 1.5 * math.sqrt(counts.min()))
    assert (advice.merged == expected).all()
    assert advice.confirmed
    if expected.any() or protect == "all":
        # A lambda_z, an oversampling (or the best there is), two kinds of weights.
        assert len(advice.checks) >= 5
        assert advice.oversampling.needed and advice.weights.needed
        assert advice.weights.normalised is not None
    for check in advice.checks[1:]:
        assert check.merged == 0 and check.relative_gap <= 1e-5
        assert check.soft_collapse <= 1 / 1.05 + 1e-6
    again(advice, counts)


def again(advice, counts):
    """Solve the recommendations once more; certify them densely and look at what merges."""
    plan = advice.oversampling
    lambda_z = advice.lambda_z
    weights = advice.weights.normalised * counts.sum() / (advice.weights.normalised * counts).sum()
    problems = [(counts, advice.lambda_z, weights)]
    if plan.feasible:
        problems.append((plan.samples, lambda_z, None))
        assert plan.added == plan.samples.sum() - counts.sum()
    else:
        problems.append((plan.best_samples, plan.best_lambda_z, None))
    watched = shared(counts) if advice.protect == "tied" else np.ones(counts.size, bool)
    for samples, strength, class_weights in problems:
        solution = ufm.solve(samples, strength, LAMBDA_B, class_weights=class_weights, tol=1e-5)
        certificate = numpy_oracle.certificate(
            solution.Z, solution.b, samples, strength, LAMBDA_B, class_weights
        )
        assert certificate.relative_gap < 1e-5
        assert not solution.collapsed[watched].any()


@pytest.mark.parametrize("name", LISTS)
def test_index_of_every_class(name, counts_of):
    counts = counts_of(name)
    advice = advise(counts, 1.2, cluster_checks=0)
    ratio = advice.lambda_z * counts.sum() / np.sqrt(counts)
    tied = shared(counts)
    assert advice.soft_collapse[tied] == pytest.approx(np.minimum(ratio, 1)[tied], abs=1e-9)
    alone = ~tied & (ratio < 1)
    # In a dense list a class alone in its size behaves as its neighbours do.
    if name in ("cifar100_lt_ir10", "lvis_v1"):
        assert advice.soft_collapse[alone] == pytest.approx(ratio[alone], rel=0.05)
    assert ((advice.soft_collapse >= 0) & (advice.soft_collapse <= 1)).all()


@pytest.mark.slow
def test_a_vocabulary(counts_of, tmp_path):
    counts = counts_of("words_en_50k")
    advice = advise(counts, 1.5)
    expected = shared(counts) & (np.sqrt(counts) <= 1.5 * math.sqrt(counts.min()))
    assert (advice.merged == expected).all()
    assert advice.confirmed and len(advice.checks) == 6
    assert advice.oversampling.needed and not advice.merged.all()
    page = advice.save_html(tmp_path / "report.html")
    assert page.stat().st_size < 2e6
    assert len(str(advice).splitlines()) < 60
