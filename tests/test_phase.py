"""Phase diagrams: solved phases against thresholds that were computed apart from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ufm

xr = pytest.importorskip("xarray")


def diagram(k_a=5, k_b=5, **changes):
    """Return a coarse diagram."""
    arguments = {
        "ratio": np.geomspace(1, 30, 9),
        "lambda_z": np.geomspace(2e-4, 2e-2, 41),
        "lambda_b": 0.02,
        **changes,
    }
    return ufm.phase_diagram(k_a, k_b, 100, **arguments)


@pytest.mark.parametrize(("k_a", "k_b"), [(5, 5), (3, 7), (1, 4), (4, 1)])
@pytest.mark.parametrize("lambda_b", [0.02, math.inf])
def test_phases_change_at_the_thresholds(k_a, k_b, lambda_b):
    found = diagram(k_a, k_b, lambda_b=lambda_b)
    lambdas = found["lambda_z"].values
    for i, ratio in enumerate(found["ratio"].values):
        row = found.isel(ratio=i)
        counts = np.repeat([100 * ratio, 100.0], [k_a, k_b])
        top = ufm.thresholds(counts, lambda_b).lambda_max
        bias_only = float(row["bias_only"])
        merged = math.sqrt(100) / counts.sum() if k_b > 1 or ratio == 1 else math.inf
        expected = np.select([lambdas >= top, lambdas >= bias_only, lambdas >= merged], [3, 2, 1])
        np.testing.assert_array_equal(row["phase"], expected)
        assert float(row["lambda_max"]) == top


def test_known_thresholds():
    """Numbers that were computed apart from this project."""
    for k_a, k_b, collapse, bias_only, top in (
        (5, 5, 0.0033333, 0.003983, 0.0074536),
        (3, 7, 0.0045455, 0.006407, 0.0101639),
    ):
        found = diagram(k_a, k_b, ratio=[5.0]).isel(ratio=0)
        assert float(found["minority_collapse"]) == pytest.approx(collapse, abs=6e-8)
        assert float(found["bias_only"]) == pytest.approx(bias_only, abs=6e-7)
        assert float(found["majority_collapse"]) == pytest.approx(top, abs=6e-8)
        assert float(found["lambda_max"]) == pytest.approx(top, abs=6e-8)


def test_critical_ratio():
    """Minority collapse iff r >= (1 / (lambda_z sqrt(n_B)) - k_B) / k_A."""
    for k_a, k_b, critical in ((5, 5, 3.0), (3, 7, 13 / 3)):
        ratios = critical * np.array([0.5, 0.999, 1.001, 1.5])
        found = diagram(k_a, k_b, ratio=ratios, lambda_z=[0.005])
        assert found["collapsed"].isel(cluster=1, lambda_z=0).values.tolist() == [0, 0, 1, 1]


def test_bias_only_is_where_the_minority_column_vanishes():
    found = diagram(ratio=[2.0, 9.0])
    for ratio, threshold in zip((2.0, 9.0), found["bias_only"].values, strict=True):
        counts = np.repeat([100 * ratio, 100.0], 5)
        for factor, vanishes in ((0.999, False), (1.001, True)):
            column = ufm.solve(counts, factor * threshold, 0.02, tol=1e-10).column(9)
            assert (np.abs(column).max() < 1e-12) == vanishes


def test_single_classes_have_no_collapse_threshold():
    found = diagram(1, 1, ratio=[1.0, 4.0])
    for name in ("minority_collapse", "majority_collapse"):
        assert found[name].values.tolist()[0] == pytest.approx(10 / 200)
        assert math.isnan(found[name].values[1])


def test_relative_lambda_z():
    found = diagram(lambda_z=None, relative_lambda_z=[0.9, 1.1])
    assert found["phase"].dims == ("ratio", "relative_lambda_z")
    assert found["phase"][1:].values.tolist() == [[0, int(p)] for p in found["phase"][1:, 1]]
    assert (found["phase"][1:, 1] >= 1).all()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_store_holds_the_thresholds(tmp_path, suffix):
    path = tmp_path / f"diagram{suffix}"
    first = diagram(store=path)
    xr.testing.assert_identical(diagram(store=path), first)
    with xr.open_dataset(path, engine="netcdf4" if suffix == ".nc" else "zarr") as file:
        assert "bias_only" in file and file["phase"].attrs["flag_meanings"].split()[0] == "distinct"
    with pytest.raises(ValueError, match="holds another sweep"):
        ufm.sweep([200.0] * 5 + [100.0] * 5, ratio=np.geomspace(1, 30, 9), lambda_b=0.02,
                  lambda_z=np.geomspace(2e-4, 2e-2, 41), store=path)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"ratio": [0.5, 2]}, ValueError, "ratio"),
        ({"ratio": 2.0}, ValueError, "ratio"),
        ({"lambda_z": 0.1}, ValueError, "lambda_z"),
        ({"lambda_z": None}, ValueError, "lambda_z"),
        ({"lambda_b": [0.1]}, TypeError, "lambda_b"),
        ({"k_a": 0}, ValueError, "majority_classes"),
        ({"k_b": None}, TypeError, "minority_classes"),
    ],
)
def test_bad_input(changes, error, word):
    with pytest.raises(error, match=word):
        diagram(**changes)


@pytest.mark.slow
def test_a_million_points_in_a_minute():
    """Processor time, which other programs on the machine do not change."""
    import time

    start = time.process_time()
    found = diagram(ratio=np.linspace(1, 20, 1000), lambda_z=np.geomspace(3e-4, 1e-2, 1000))
    assert found["phase"].shape == (1000, 1000) and bool((found["status"] == 0).all())
    assert time.process_time() - start < 60


def test_figures(tmp_path):
    pytest.importorskip("matplotlib")
    from ufm import figures

    found = diagram()
    figure = figures.phase_diagram(found)
    ax = figure.axes[0]
    assert len(ax.lines) == 4 and len(ax.get_legend().get_texts()) == 8
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found["minority_collapse"])
    colours = np.asarray(ax.collections[0].get_array()).reshape(41, 9)
    np.testing.assert_array_equal(colours, found["phase"].values.T)
    scaled = diagram(lambda_z=None, relative_lambda_z=[0.5, 1.0, 2.0])
    ax = figures.phase_diagram(scaled).axes[0]
    assert "units" in ax.get_ylabel()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1.0, rtol=1e-12)
    figures.save(figure, tmp_path / "phase.png")
    assert len(figures.sweep(found.drop_vars("phase")).axes[0].lines) == 2  # two clusters
    one = ufm.sweep([5, 5, 1], lambda_z=[0.01, 0.1, 0.3], lambda_b=0.1)
    assert len(figures.sweep(one).axes) == 2
    names = ufm.sweep({"a": [5, 3], "b": [5, 3, 1]}, lambda_z=[0.1], lambda_b=[0.1, math.inf])
    figures.save(figures.sweep(names.isel(lambda_z=0)), tmp_path / "names.png")
    for wrong in (names, one.isel(lambda_z=0), one[["objective"]]):
        with pytest.raises(ValueError, match="dataset"):
            figures.sweep(wrong)
    with pytest.raises(ValueError, match="no phase diagram"):
        figures.phase_diagram(one)
