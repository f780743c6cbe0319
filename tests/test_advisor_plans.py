"""The closed forms of the advisor against exhaustive search and linear programs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import ufm
from problems import counts_tuples
from profiles import examples

LAMBDA_B = 0.02


def plan(counts, lambda_z, **options):
    """Return the advice without its per-size checks, which the closed forms do not need."""
    options.setdefault("cluster_checks", 0)
    return ufm.advise(counts, lambda_z=lambda_z, lambda_b=LAMBDA_B, **options)


def tied(counts):
    """Return which classes share their count with another."""
    return np.array([counts.count(n) > 1 for n in counts])


def is_safe(samples, watched, lambda_z, margin):
    """Return whether all watched classes have a threshold of (1 + margin) lambda_z."""
    samples = np.asarray(samples, float)
    thresholds = np.sqrt(samples) / samples.sum()
    return bool((thresholds[watched] >= (1 + margin) * lambda_z * (1 - 1e-12)).all())


@pytest.mark.parametrize("penalty", ["sum", "mean"])
@pytest.mark.parametrize("counts", [(2, 2, 9), (1, 1, 6), (2, 3, 3, 8), (1, 1, 4, 4)])
@pytest.mark.parametrize("multiple", [0.97, 1.1, 1.25, 1.5, 1.9])
def test_no_smaller_integer_plan_exists(counts, multiple, penalty):
    margin, watched = 0.02, tied(list(counts))
    n = np.array(counts, float)
    lambda_z = multiple * math.sqrt(min(counts)) / n.sum()
    found = plan(counts, lambda_z, margin=margin, feature_penalty=penalty).oversampling
    least = math.inf
    for samples in itertools.product(*(range(c, 15) for c in counts)):
        total = sum(samples)
        at = lambda_z if penalty == "sum" else lambda_z * math.sqrt(n.sum() / total)
        if total < least and is_safe(samples, watched, at, margin):
            least = total
    if found.feasible and found.level <= 14:
        assert found.samples.sum() == least
        assert found.added == least - n.sum()
        assert (found.samples >= n).all()
    else:
        assert least == math.inf


@examples(40)
@given(
    counts=counts_tuples(max_classes=12, max_count=10**4, max_distinct=6),
    multiple=st.floats(0.5, 6.0),
    protect=st.sampled_from(["tied", "all"]),
)
def test_normalised_weights_solve_the_linear_program(counts, multiple, protect):
    n = np.array(counts)
    margin = 0.05
    lambda_z = multiple * math.sqrt(n.min()) / n.sum()
    watched = np.ones(n.size, bool) if protect == "all" else tied(list(counts))
    found = plan(counts, lambda_z, margin=margin, protect=protect).weights
    if not watched.any():
        assert not found.needed
        return
    # Least S = sum w n with w >= 1 and w sqrt(n) >= (1 + margin) lambda_z S.
    at_least = (1 + margin) * lambda_z * np.tile(n, (n.size, 1)) - np.diag(np.sqrt(n))
    scale = np.abs(at_least).max(axis=1, keepdims=True)
    program = linprog(
        n / n.sum(), (at_least / scale)[watched], np.zeros(watched.sum()), bounds=(1, 1e9)
    )
    slack = 1 - (1 + margin) * lambda_z * np.sqrt(n[watched]).sum()
    if abs(slack) < 1e-3:  # the program is too ill-conditioned to be an oracle
        return
    assert (found.normalised is not None) == (program.status == 0)
    if found.normalised is not None:
        assert found.normalised == pytest.approx(program.x, rel=1e-5)
        assert (found.normalised >= 1).all()


@examples(40)
@given(
    counts=counts_tuples(max_classes=12, max_count=10**4, max_distinct=6),
    multiple=st.floats(0.5, 3.0),
)
def test_plans_for_a_mean_penalty_solve_the_linear_program(counts, multiple):
    n = np.array(counts) + 0.25  # no rounding to integers
    watched = tied(list(counts))
    lambda_z = multiple * math.sqrt(n.min()) / n.sum()
    found = plan(n, lambda_z, feature_penalty="mean").oversampling
    if not watched.any():
        return
    # m >= n and m >= share * sum of m: a class is safe by its part of all samples.
    share = (1.05 * lambda_z) ** 2 * n.sum()
    if abs(1 - share * watched.sum()) < 1e-3:
        return
    rows = share * np.ones((n.size, n.size)) - np.eye(n.size)
    program = linprog(
        np.ones(n.size), rows[watched], np.zeros(watched.sum()), bounds=[(v, None) for v in n]
    )
    assert found.feasible == (program.status == 0)
    if found.feasible:
        assert found.samples.sum() == pytest.approx(program.fun, rel=1e-6)


@examples(60)
@given(
    counts=counts_tuples(max_classes=30, max_count=10**5, max_distinct=12),
    multiple=st.floats(0.5, 5.0),
    protect=st.sampled_from(["tied", "all"]),
    penalty=st.sampled_from(["sum", "mean"]),
    shift=st.sampled_from([0.0, 0.3]),
)
def test_the_level_is_the_smallest_one(counts, multiple, protect, penalty, shift):
    n = np.array(counts) + shift
    watched = np.ones(n.size, bool) if protect == "all" else tied(list(counts))
    lambda_z = multiple * math.sqrt(n.min()) / n.sum()
    found = plan(n, lambda_z, protect=protect, feature_penalty=penalty, tol=1e-2).oversampling

    def safe(level, strength=lambda_z):
        samples = np.where(watched, np.maximum(n, level), n)
        if penalty == "mean":
            strength = strength * math.sqrt(n.sum() / samples.sum())
        return is_safe(samples, watched, strength, 0.05)

    if not watched.any():
        assert found.feasible and not found.needed
        return
    levels = np.geomspace(n[watched].min(), 50 * n.max(), 200)
    if shift == 0:
        levels = np.unique(np.round(levels))
    if found.feasible:
        assert safe(found.level)
        assert found.added == pytest.approx(np.maximum(found.level - n[watched], 0).sum())
        lower = levels[levels < found.level * (1 - 1e-9)]
        assert not any(safe(level) for level in lower)
    else:
        assert not any(safe(level) for level in levels)
    # The best plan serves at its own lambda_z, and nothing serves beyond the limit.
    assert safe(found.best_level, found.best_lambda_z)
    assert found.best_lambda_z <= found.limit_lambda_z * (1 + 1e-12)
    assert not any(safe(level, found.limit_lambda_z * 1.001) for level in levels)


@examples(40)
@given(
    counts=counts_tuples(max_classes=20, max_count=10**4, max_distinct=8),
    multiple=st.floats(0.5, 5.0),
    penalty=st.sampled_from(["sum", "mean"]),
)
def test_single_sizes_get_their_smallest_number(counts, multiple, penalty):
    n = np.array(counts)
    lambda_z = multiple * math.sqrt(n.min()) / n.sum()
    advice = plan(n, lambda_z, feature_penalty=penalty, tol=1e-2)
    for cluster in advice.clusters:
        mine = n == cluster.count
        if not cluster.protected:
            assert cluster.samples_alone is None
            continue

        def safe(level, mine=mine):
            samples = np.where(mine, level, n)
            at = lambda_z * (1 if penalty == "sum" else math.sqrt(n.sum() / samples.sum()))
            return is_safe(samples, mine, at, 0.05)

        levels = np.unique(np.round(np.geomspace(cluster.count, 100 * n.max(), 200)))
        if cluster.samples_alone is None:
            assert not any(safe(level) for level in levels)
            continue
        assert safe(cluster.samples_alone)
        assert not any(safe(level) for level in levels[levels < cluster.samples_alone])
        assert cluster.factor_alone == cluster.samples_alone / cluster.count
        samples = np.where(mine, cluster.samples_alone, n)
        assert cluster.added_alone == samples.sum() - n.sum()
        at = advice.penalties.at(samples.sum())
        others = tied(list(counts)) & ~mine
        then = others & (at >= np.sqrt(n) / samples.sum())
        now = others & (lambda_z >= np.sqrt(n) / n.sum())
        assert cluster.also_merge == (then & ~now).sum()


def test_plain_weights_put_each_class_on_its_margin():
    n = np.array([500.0] * 5 + [100.0] * 5 + [20.0] * 3 + [7.0])
    lambda_z = 0.004
    found = plan(n, lambda_z).weights
    needed = 1.05 * lambda_z * n.sum() / np.sqrt(n)
    assert found.plain[:13] == pytest.approx(np.maximum(needed[:13], 1), rel=1e-14)
    assert found.plain[13] == 1  # alone in its size: nothing to merge with


def test_limit_of_normalised_weights():
    n = np.array([500.0] * 5 + [100.0] * 5)
    limit = plan(n, 0.004).weights.limit_lambda_z
    assert limit == pytest.approx(1 / np.sqrt(n).sum() / 1.05, rel=1e-14)
    assert plan(n, 0.999 * limit).weights.normalised is not None
    beyond = plan(n, 1.001 * limit).weights
    assert beyond.normalised is None and (beyond.plain > 1).any()


def test_limit_of_oversampling_two_clusters():
    # sqrt(m) / (k_A n_A + k_B m) is largest at k_B m = k_A n_A.
    found = plan([500] * 3 + [100] * 7, 0.001).oversampling
    level = 3 * 500 / 7
    assert found.best_level in (math.floor(level), math.ceil(level))
    assert found.limit_lambda_z * 1.05 == pytest.approx(math.sqrt(level) / 3000, rel=1e-4)


def test_more_samples_make_a_dominating_cluster_worse():
    advice = plan([100] * 10, 1.5 * 0.01)
    assert not advice.oversampling.feasible
    assert advice.clusters[0].samples_alone is None
    assert advice.oversampling.best_level == 100
    assert advice.weights.normalised is None  # balanced classes gain nothing from each other
    assert (advice.weights.plain > 1).all()
