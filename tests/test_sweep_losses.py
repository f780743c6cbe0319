"""`sweep` over losses: each point is what `solve` says of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import ufm

xr = pytest.importorskip("xarray")

COUNTS = [500.0] * 5 + [100.0] * 5
LOSSES = {
    "plain": None,
    "smoothing": ufm.losses.label_smoothing(0.1),
    "adjusted": ufm.losses.logit_adjustment,
    "cdt": lambda counts: ufm.losses.cdt(counts, 0.3),
    "balanced": ufm.losses.inverse_frequency,
}


def made(name, counts):
    """Return the loss of a name for these counts."""
    loss = LOSSES[name]
    return loss(counts) if callable(loss) else loss


def assert_is(point, solution):
    for name in ("objective", "dual_objective", "relative_gap", "rank", "iterations"):
        assert point[name].item() == getattr(solution, name)
    assert point["collapsed_classes"].item() == solution.collapsed.sum()
    for cluster, k in enumerate((0, 9)):
        one = point.isel(cluster=cluster)
        assert one["own_logit"].item() == pytest.approx(solution.entry(k, k), rel=1e-12)
        assert one["bias"].item() == pytest.approx(solution.b[k], rel=1e-12)
        assert one["collapsed"].item() == solution.collapsed[k]
        assert one["collapse_threshold"].item() == pytest.approx(
            solution.clusters[int(solution.cluster_of[k])].threshold, rel=1e-12
        )


def test_a_dimension_of_losses():
    ratios, biases, lambdas = [2.0, 5.0], [0.02, math.inf], [0.001, 0.003, 0.006]
    grid = ufm.sweep(COUNTS, loss=LOSSES, ratio=ratios, lambda_b=biases, lambda_z=lambdas)
    assert grid["objective"].dims == ("loss", "ratio", "lambda_b", "lambda_z")
    assert grid["loss"].values.tolist() == list(LOSSES)
    assert grid["collapse_threshold"].dims == ("loss", "ratio", "cluster")
    assert grid["relative_lambda_z"].dims == ("ratio", "lambda_z")
    for name, r, lb, lz in itertools.product(LOSSES, ratios, biases, lambdas):
        counts = np.repeat([100 * r, 100.0], 5)
        solution = ufm.solve(counts, lz, lb, loss=made(name, counts))
        assert_is(grid.sel(loss=name, ratio=r, lambda_b=lb, lambda_z=lz), solution)


def test_one_loss_for_all():
    loss = ufm.losses.vector_scaling(COUNTS, gamma=0.2, tau=1.0, class_weights=[1.0, 2.0] * 5)
    grid = ufm.sweep(COUNTS, loss=loss, lambda_b=0.02, relative_lambda_z=[0.5, 2.0])
    assert grid["objective"].dims == ("relative_lambda_z",)
    assert "offsets" in grid.attrs["loss"] and "class weights 1 to 2" in grid.attrs["loss"]
    # The weights alternate within both counts: four clusters.
    assert grid.sizes["cluster"] == 4
    for multiple, lambda_z in zip((0.5, 2.0), grid["lambda_z"].values, strict=True):
        solution = ufm.solve(COUNTS, lambda_z, 0.02, loss=loss)
        point = grid.sel(relative_lambda_z=multiple)
        assert point["objective"].item() == solution.objective
        own = [solution.entry(k, k) for k in (0, 1, 5, 6)]
        assert sorted(point["own_logit"].values) == pytest.approx(sorted(own), rel=1e-12)


def test_weights_beside_a_loss_and_counts_that_differ_in_length():
    smoothing = ufm.Loss(smoothing=0.1)
    weights = {"plain": None, "up": [1.0] * 5 + [2.0] * 5}
    grid = ufm.sweep(COUNTS, class_weights=weights, loss={"s": smoothing}, lambda_z=2e-3,
                     lambda_b=0.02)  # fmt: skip
    assert grid["objective"].dims == ("class_weights", "loss")
    for name, given in weights.items():
        expected = ufm.solve(COUNTS, 2e-3, 0.02, class_weights=given, loss=smoothing)
        assert grid["objective"].sel(class_weights=name, loss="s").item() == expected.objective
    rows = [[5.0, 3.0, 3.0], [9.0, 2.0]]
    grid = ufm.sweep(rows, loss=ufm.losses.logit_adjustment, lambda_z=0.05, lambda_b=0.1)
    for row, objective in zip(rows, grid["objective"].values, strict=True):
        loss = ufm.losses.logit_adjustment(row)
        assert objective == ufm.solve(row, 0.05, 0.1, loss=loss).objective


def test_processes_and_a_store(tmp_path):
    arguments = {"loss": LOSSES, "lambda_z": [1e-3, 3e-3], "lambda_b": 0.02, "chunk_size": 3}
    expected = ufm.sweep(COUNTS, **arguments)
    path = tmp_path / "out.nc"
    found = ufm.sweep(COUNTS, **arguments, executor=1, store=path)
    xr.testing.assert_identical(found, expected)
    xr.testing.assert_equal(ufm.sweep(COUNTS, **arguments, store=path), expected)
    other = {**LOSSES, "smoothing": ufm.losses.label_smoothing(0.2)}
    with pytest.raises(ValueError, match=r"another sweep \(loss: 5 losses"):
        ufm.sweep(COUNTS, **{**arguments, "loss": other}, store=path)


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        ("plain", TypeError, "^loss must be a ufm.Loss, a function.*dict.*'plain'"),
        ({}, ValueError, "^loss must name at least one"),
        ({1: None}, TypeError, "names of loss must be strings"),
        ({"a": 3}, TypeError, r"^loss\['a'\] must be a ufm.Loss.*got 3"),
        (ufm.Loss(scales=[1, 2]), ValueError, "^loss: loss must fit.*2 entries for 10"),
        ({"a": lambda counts: 1.0}, TypeError, r"^loss\['a'\]: the function.*made 1.0"),
        ({"a": lambda counts: ufm.losses.cdt(counts, 1e9)}, ValueError, r"^loss\['a'\]: gamma"),
    ],
)
def test_bad_loss_is_named(loss, error, words):
    with pytest.raises(error, match=words):
        ufm.sweep(COUNTS, loss=loss, lambda_z=1e-3, lambda_b=0.02)


def test_class_weights_are_given_once():
    with pytest.raises(ValueError, match=r"^loss: class_weights must not be given"):
        ufm.sweep(COUNTS, loss=ufm.losses.inverse_frequency, class_weights=[1.0] * 10,
                  lambda_z=1e-3, lambda_b=0.02)  # fmt: skip
