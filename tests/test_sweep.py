"""`ufm.sweep`: every value is that of `ufm.solve`, and every label says what it is."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ufm
from profiles import examples

xr = pytest.importorskip("xarray")

COUNTS = [500.0] * 5 + [100.0] * 5
SCALARS = ("objective", "dual_objective", "relative_gap", "rank", "iterations")


def assert_is(point, solution: ufm.Solution, classes: list[int]) -> None:
    """Hold one point of a sweep against one solution; ``classes``: one of each cluster."""
    for name in ("objective", "dual_objective"):
        assert float(point[name]) == pytest.approx(getattr(solution, name), rel=2e-6)
    assert ufm.Status[names_of_status(point)] is solution.status
    assert int(point["rank"]) == solution.rank
    assert int(point["collapsed_classes"]) == int(solution.collapsed.sum())
    for cluster, k in enumerate(classes):
        one = point.isel(cluster=cluster)
        assert float(one["own_logit"]) == pytest.approx(solution.entry(k, k), abs=2e-3)
        assert float(one["bias"]) == pytest.approx(solution.b[k], abs=2e-3)
        assert bool(one["collapsed"]) == solution.collapsed[k]


def names_of_status(point) -> str:
    """Return the status as its flag meaning, the way a reader without ufm would find it."""
    attributes = point["status"].attrs
    meanings = attributes["flag_meanings"].split()
    return meanings[list(attributes["flag_values"]).index(int(point["status"]))]


def test_every_dimension_at_once():
    weights = {"plain": [1.0] * 10, "up": [1.0] * 5 + [2.0] * 5}
    counts = [COUNTS, [300.0] * 4 + [20.0] * 6]
    ratios, biases, lambdas = [1.0, 3.0, 40.0], [0.02, math.inf], [0.001, 0.004, 0.008]
    grid = ufm.sweep(counts, class_weights=weights, ratio=ratios, lambda_b=biases, lambda_z=lambdas)
    assert grid["objective"].dims == ("counts", "class_weights", "ratio", "lambda_b", "lambda_z")
    assert grid.sizes["cluster"] == 3  # classes 0-3, 4 and 5-9 are alike in all problems
    first = [int(np.argmax(grid["cluster_of"].values == c)) for c in range(3)]
    for i, name, r, lb, lz in itertools.product((0, 1), weights, ratios, biases, lambdas):
        row = np.array(counts[i])
        row = np.where(row == row.max(), r * row.min(), row.min())
        point = grid.sel(counts=i, class_weights=name, ratio=r, lambda_b=lb, lambda_z=lz)
        solution = ufm.solve(row, lz, lb, class_weights=weights[name])
        assert_is(point, solution, first)
        np.testing.assert_array_equal(point["count"], row[first])
        unit = math.sqrt(row.min()) / row.sum()
        assert float(point["relative_lambda_z"]) == pytest.approx(lz / unit, rel=1e-14)
        for cluster in range(3):
            info = solution.clusters[solution.cluster_of[first[cluster]]]
            expected = info.threshold
            found = float(point["collapse_threshold"].isel(cluster=cluster))
            assert found == pytest.approx(expected, rel=1e-14, nan_ok=True)


@examples(15)
@given(st.data())
def test_random_rows_to_the_last_bit(data):
    """The arrays gathered from a batch are those of its solutions."""
    rows = st.lists(st.sampled_from([500.0, 100.0, 20.0, 3.0]), min_size=4, max_size=4)
    counts = data.draw(st.lists(rows, min_size=1, max_size=3))
    lambdas = data.draw(st.lists(st.floats(1e-4, 0.3), min_size=1, max_size=4))
    grid = ufm.sweep(counts, lambda_z=lambdas, lambda_b=0.05)
    for i, row in enumerate(counts):
        for j, solution in enumerate(ufm.solve_many(row, lambdas, 0.05)):
            point = grid.isel(counts=i, lambda_z=j)
            for name in SCALARS:
                assert point[name].item() == getattr(solution, name)
            for k in range(4):
                one = point.isel(cluster=int(grid["cluster_of"][k]))
                info = solution.clusters[solution.cluster_of[k]]
                for name in ("own_logit", "bias", "amplitude", "collapsed"):
                    assert one[name].item() == getattr(info, name)


def test_known_numbers():
    grid = ufm.sweep(COUNTS, lambda_z=[0.0027, 0.0033, 0.0051, 0.0075], lambda_b=0.02)
    expected = [1.4476487715, 1.6204672721, 1.9412208896, 2.1086694991]
    np.testing.assert_allclose(grid["objective"], expected, rtol=1e-9)
    np.testing.assert_allclose(grid["own_logit"][:, 0], [2.2950, 1.9964, 1.1777, 0], atol=6e-5)
    np.testing.assert_allclose(grid["own_logit"][:, 1], [1.4243, 0.3297, 0, 0], atol=6e-5)
    np.testing.assert_allclose(grid["bias"][:, 0], [0.3898, 0.4186, 0.5403, 0.6106], atol=6e-5)


def test_structured_solutions():
    """Problems of very many different counts, whose M is held as diagonal plus low rank."""
    counts = np.arange(1.0, 301.0) ** 1.5
    unit = 1 / counts.sum()
    grid = ufm.sweep([counts], lambda_z=[unit, 3 * unit], lambda_b=0.02)
    for j, lambda_z in enumerate((unit, 3 * unit)):
        solution = ufm.solve_many(counts, lambda_z, 0.02)[0]
        np.testing.assert_array_equal(
            grid["own_logit"][0, j], [c.own_logit for c in solution.clusters]
        )


def test_relative_lambda_z():
    relative = ufm.sweep(COUNTS, relative_lambda_z=[0.5, 1.5], ratio=[2, 8], lambda_b=0.02)
    assert relative["rank"].dims == ("ratio", "relative_lambda_z")
    for i, ratio in enumerate((2, 8)):
        unit = math.sqrt(100) / (500 * (1 + ratio))
        np.testing.assert_allclose(relative["lambda_z"][i], np.array([0.5, 1.5]) * unit, rtol=1e-14)
        assert relative["collapsed"][i, :, 1].values.tolist() == [False, True]


def test_ratio_of_a_long_tail_keeps_proportions():
    tail = 5.0 * 100.0 ** (np.arange(5)[::-1] / 4)
    grid = ufm.sweep(tail, ratio=[16.0], lambda_z=1e-3, lambda_b=0.02)
    np.testing.assert_allclose(grid["count"][0], 5 * 16.0 ** (np.arange(5)[::-1] / 4), rtol=1e-13)


def test_counts_of_differing_length_have_no_clusters():
    grid = ufm.sweep({"two": [5, 3], "three": [5, 3, 1]}, lambda_z=0.05, lambda_b=0.1)
    assert grid["counts"].values.tolist() == ["two", "three"]
    assert "cluster" not in grid.dims and "differ" in grid.attrs["comment"]
    for name, row in (("two", [5, 3]), ("three", [5, 3, 1])):
        value = float(grid["objective"].sel(counts=name))
        assert value == pytest.approx(ufm.solve(row, 0.05, 0.1).objective, rel=2e-6)


def test_one_problem_has_no_dimension():
    grid = ufm.sweep(COUNTS, lambda_z=0.005, lambda_b=0.02)
    assert grid["objective"].ndim == 0
    assert (float(grid["lambda_z"]), float(grid["lambda_b"])) == (0.005, 0.02)


def test_labels_and_units():
    grid = ufm.sweep(
        [COUNTS], lambda_z=[0.001, 0.002], lambda_b=[0.02], ratio=[2.0], class_weights=[[1.0] * 10],
        seconds=True, tol=1e-7,
    )  # fmt: skip
    for name, variable in grid.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["description"]
        if name not in ("counts", "class_weights"):
            assert variable.attrs["units"] == ("s" if name == "seconds" else "1")
    assert grid.attrs["ufm_version"] == ufm.__version__
    assert grid.attrs["tol"] == 1e-7
    assert grid["status"].dtype == np.int8
    assert len(grid["status"].attrs["flag_meanings"].split()) == 5


def test_a_solve_that_does_not_converge_says_so():
    rows = ufm.sweep(np.arange(1.0, 11.0) ** 2, lambda_z=[1e-4], lambda_b=0.02, max_iterations=1)
    assert names_of_status(rows.isel(lambda_z=0)) == "MAX_ITERATIONS"
    assert float(rows["relative_gap"][0]) > 1e-6


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"lambda_z": None}, ValueError, ["lambda_z", "relative_lambda_z"]),
        ({"relative_lambda_z": 1.0}, ValueError, ["lambda_z", "relative_lambda_z"]),
        ({"lambda_z": [1e-3, -1.0]}, ValueError, ["lambda_z[1]", "-1"]),
        ({"lambda_z": []}, ValueError, ["lambda_z", "(0,)"]),
        ({"lambda_z": [[1e-3]]}, ValueError, ["lambda_z", "(1, 1)"]),
        ({"lambda_z": "a"}, TypeError, ["lambda_z", "'a'"]),
        ({"lambda_b": [0.1, math.nan]}, ValueError, ["lambda_b[1]", "nan"]),
        ({"counts": [[1, 2], [3, -4]]}, ValueError, ["counts[1]", "-4"]),
        ({"counts": {"mine": [0, 1]}}, ValueError, ["counts['mine']", "0.0"]),
        ({"counts": {1: [1, 1]}}, TypeError, ["names of counts", "1"]),
        ({"counts": []}, ValueError, ["counts"]),
        ({"counts": {}}, ValueError, ["counts"]),
        ({"counts": np.ones((2, 2, 2))}, ValueError, ["counts", "(2, 2, 2)"]),
        ({"ratio": 0}, ValueError, ["ratio", "0"]),
        ({"ratio": 0.5}, ValueError, ["ratio", "at least 1", "0.5"]),
        ({"ratio": [2, 0.99]}, ValueError, ["ratio[1]", "at least 1", "0.99"]),
        ({"ratio": 1e6, "counts": [2, 1], "class_weights": [1e306, 1]}, ValueError,
         ["ratio 1e+06", "class_weights", "1e+306"]),
        ({"ratio": 2.0, "counts": [7, 7]}, ValueError, ["ratio", "7"]),
        ({"ratio": 1e308, "counts": [7.0, 7, 1]}, ValueError, ["ratio", "out of range"]),
        ({"class_weights": [1.0, 2.0]}, ValueError, ["class_weights", "(10,)"]),
        ({"class_weights": [[1.0] * 10, [0.0] * 10]}, ValueError, ["class_weights[1]", "0.0"]),
        ({"class_weights": [1.0], "counts": [[1], [1, 2]]}, ValueError, ["class_weights", "1, 2"]),
        ({"tol": 0}, ValueError, ["tol", "0"]),
        ({"chunk_size": 0}, ValueError, ["chunk_size", "0"]),
        ({"threads": 1.5}, TypeError, ["threads", "1.5"]),
        ({"executor": "two"}, TypeError, ["executor", "'two'"]),
        ({"executor": 0}, ValueError, ["executor", "0"]),
        ({"per_cluster": 1}, TypeError, ["per_cluster", "1"]),
        ({"progress": 3}, TypeError, ["progress", "3"]),
        ({"store": "x.csv"}, ValueError, ["store", "x.csv", ".nc", ".zarr"]),
        ({"store": "/no/such/folder/x.nc"}, ValueError, ["store", "/no/such/folder"]),
    ],
)  # fmt: skip
def test_bad_input(changes, error, words):
    arguments = {"counts": COUNTS, "lambda_z": 1e-3, "lambda_b": 0.02, **changes}
    with pytest.raises(error) as caught:
        ufm.sweep(arguments.pop("counts"), **arguments)
    for word in words:
        assert word in str(caught.value)


def test_none_among_class_weights_stands_for_ones():
    up = [1.0] * 5 + [2.0] * 5
    arguments = {"counts": COUNTS, "lambda_z": 1e-3, "lambda_b": 0.02}
    expected = ufm.sweep(**arguments, class_weights={"plain": [1.0] * 10, "up": up})
    found = ufm.sweep(**arguments, class_weights={"plain": None, "up": up})
    xr.testing.assert_identical(found, expected)
    assert ufm.sweep(**arguments, class_weights=[None, up])["rank"].sizes == {"class_weights": 2}


def test_progress_counts_problems():
    seen = []
    ufm.sweep(
        COUNTS, lambda_z=np.geomspace(1e-3, 1e-2, 10), lambda_b=0.02, chunk_size=4,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_nothing_is_shown_to_a_pipe(capfd):
    ufm.sweep(COUNTS, lambda_z=[1e-3, 2e-3], lambda_b=0.02)
    assert capfd.readouterr() == ("", "")


def test_planning_is_imported_without_the_extras(run_python):
    done = run_python("""
import sys
from ufm import path, phase_diagram, sweep
path([5, 5, 1, 1], lambda_b=0.1, num=5)
print({"xarray", "matplotlib", "dask", "distributed", "click", "torch"} & set(sys.modules))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_missing_extra_is_named(run_python):
    script = """
import sys
from importlib.machinery import PathFinder
class Missing(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            return None
        return super().find_spec(name, path, target)
sys.meta_path = [f for f in sys.meta_path if f is not PathFinder] + [Missing]
import ufm
try:
    ufm.sweep([5, 3], lambda_z=0.1, lambda_b=0.1, store={store!r})
except ImportError as error:
    print(error)
"""
    for names, store in ((["xarray"], None), (["netCDF4"], "x.nc"), (["zarr"], "x.zarr")):
        done = run_python(script.format(names=names, store=store))
        assert done.returncode == 0, done.stderr
        assert f'needs {names[0]}: pip install "ufm[sweep]"' in done.stdout.replace(
            "need ", "needs "
        )


def test_two_cluster_sweeps_take_microseconds_a_problem():
    """Processor time of two-cluster problems with everything around them; ten times the usual."""
    ufm.sweep(COUNTS, lambda_z=1e-3, lambda_b=0.02)
    start = time.process_time()
    grid = ufm.sweep(
        COUNTS, lambda_z=np.geomspace(1e-3, 1e-2, 200), ratio=np.linspace(1, 20, 100), lambda_b=0.02
    )
    assert grid["rank"].size == 20_000 and bool((grid["status"] == 0).all())
    assert time.process_time() - start < 20_000 * 60e-6
