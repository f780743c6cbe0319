"""Figures 5 to 9 of the paper: the problems, their solutions, verdicts, and what is drawn."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

import ufm

pytest.importorskip("matplotlib")

from oracles import numpy_oracle
from ufm import figures
from ufm.figures._panels import NUMBERS, panels_of


@pytest.fixture(scope="module")
def solved():
    """Each figure solved once, by its number."""
    return {number: figures.solve_paper_figure(number) for number in NUMBERS}


# ---------------------------------------------------------------------- problems and solutions


@pytest.mark.parametrize("number", NUMBERS)
def test_panels_are_solutions_of_their_problem(solved, number):
    figure = solved[number]
    assert figure.converged
    for panel, solution in zip(figure.panels, figure.solutions, strict=True):
        counts = [panel.count_a] * panel.classes_a + [panel.count_b] * panel.classes_b
        assert len(counts) == 10
        certificate = numpy_oracle.certificate(
            solution.Z, solution.b, np.array(counts), panel.lambda_z, panel.lambda_b, None
        )
        assert certificate.relative_gap < 1e-9
        assert solution.objective == pytest.approx(certificate.primal, rel=1e-11)


def test_the_paper_s_values():
    assert [len(panels_of(number)) for number in NUMBERS] == [10, 10, 10, 10, 11]
    for number, classes_a, first, last in (
        (5, 5, 0.0027, 0.0075),
        (6, 3, 0.0037, 0.0102),
        (7, 5, 100, 1400),
        (8, 3, 100, 2800),
        (9, 5, 500, 5500),
    ):
        panels = panels_of(number)
        varied = [panel.lambda_z if number < 7 else panel.count_a for panel in panels]
        assert (varied[0], varied[-1]) == (first, last)
        assert varied == sorted(set(varied))
        assert {panel.classes_a for panel in panels} == {classes_a}
        assert {panel.lambda_b for panel in panels} == {0.02}


def test_known_numbers(solved):
    """Objective and own-class entries computed independently of the package."""
    known = {
        0.0027: (1.4476487715, 2.2950, 1.4243, 0.3898),
        0.0033: (1.6204672721, 1.9964, 0.3297, 0.4186),
        0.0039: (1.7487329035, 1.6996, 0.0314, 0.4603),
        0.0051: (1.9412208896, 1.1777, 0, 0.5403),
        0.0075: (2.1086694991, 0, 0, 0.6106),
    }
    rows = {row["lambda_z"]: row for row in solved[5].records()}
    for lambda_z, (objective, z_aa, z_bb, b_a) in known.items():
        row = rows[lambda_z]
        assert row["objective"] == pytest.approx(objective, abs=1e-9)
        entries = (row["z_aa"], row["z_bb"], row["b_a"])
        assert entries == pytest.approx((z_aa, z_bb, b_a), abs=6e-5)


@pytest.mark.parametrize("number", NUMBERS)
def test_records_hold_all_of_z(solved, number):
    figure = solved[number]
    for row, solution in zip(figure.records(), figure.solutions, strict=True):
        a, b = row["k_a"], row["k_b"]
        Z = np.block(
            [
                [np.full((a, a), row["z_aa_other"]), np.full((a, b), row["z_ab"])],
                [np.full((b, a), row["z_ba"]), np.full((b, b), row["z_bb_other"])],
            ]
        )
        Z[np.diag_indices(10)] = [row["z_aa"]] * a + [row["z_bb"]] * b
        np.testing.assert_array_equal(Z, solution.Z)
        np.testing.assert_array_equal([row["b_a"]] * a + [row["b_b"]] * b, solution.b)


# ---------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("number", [5, 6])
def test_verdicts_turn_at_the_threshold(solved, number):
    figure = solved[number]
    threshold = math.sqrt(100) / (500 * (5 if number == 5 else 3) + 100 * (5 if number == 5 else 7))
    assert threshold == pytest.approx({5: 0.0033333, 6: 0.0045455}[number], abs=1e-7)
    assert {row["threshold"] for row in figure.records()} == {threshold}
    verdicts = [row["verdict"] for row in figure.records()]
    for row in figure.records():
        assert (row["verdict"] == "not collapsed") == (row["lambda_z"] < threshold)
    # lambda_c, above which the minority is predicted by the bias alone, and lambda_max.
    for row in figure.records():
        at_zero = row["lambda_z"] > {5: 0.003983, 6: 0.006407}[number]
        all_zero = row["lambda_z"] > {5: 0.0074536, 6: 0.0101639}[number]
        merged = row["lambda_z"] >= threshold
        expected = ("all classes at zero" if all_zero else "collapsed to zero") if at_zero else None
        assert row["verdict"] == (expected or ("collapsed" if merged else "not collapsed"))
    assert len(set(verdicts)) == 4


@pytest.mark.parametrize(("number", "critical"), [(7, 300.0), (8, 1300 / 3)])
def test_verdicts_turn_at_the_critical_count(solved, number, critical):
    figure = solved[number]
    assert figure.panels[0].critical_count_a == pytest.approx(critical, rel=1e-12)
    for row in figure.records():
        assert (row["verdict"] == "not collapsed") == (row["n_a"] < critical)


def test_verdict_follows_the_entries(solved):
    """A minority counts as merged where its columns are equal, to the last bit."""
    for number in (5, 6, 7, 8):
        for row, solution in zip(solved[number].records(), solved[number].solutions, strict=True):
            equal = np.array_equal(solution.Z[:, -1], solution.Z[:, -2])
            assert equal == (row["verdict"] != "not collapsed")


# ---------------------------------------------------------------------- figure 9


def cosines_by_hand(Z):
    """Mean cosines of columns, pair by pair."""

    def mean(pairs):
        values = [
            Z[:, i] @ Z[:, j] / math.sqrt((Z[:, i] @ Z[:, i]) * (Z[:, j] @ Z[:, j]))
            for i, j in pairs
        ]
        return sum(values) / len(values)

    a, b = range(5), range(5, 10)
    return [
        mean([(i, j) for i in a for j in a if i != j]),
        mean([(i, j) for i in b for j in b if i != j]),
        mean([(i, j) for i in a for j in b]),
    ]


def test_cosines(solved):
    first = solved[9].solutions[0]
    columns, rows = figures.mean_cosines(first), figures.mean_cosines(first, "rows")
    assert columns == pytest.approx(cosines_by_hand(first.Z), rel=1e-12)
    assert rows == pytest.approx(cosines_by_hand(first.Z.T), rel=1e-12)
    assert columns == pytest.approx((-0.138, -0.078, -0.111), abs=6e-4)
    assert rows == pytest.approx((-0.117, -0.100, -0.113), abs=6e-4)


def test_cosines_tend_to_the_simplex(solved):
    """The distances to -1/9 of the curves inside A and B fall, but only like 1/log n."""
    records = solved[9].records()
    for key in ("cosine_inside_a", "cosine_inside_b"):
        distances = [abs(row[key] + 1 / 9) for row in records]
        assert all(np.diff(distances) < 0)
    far = []
    for exponent in (6, 30, 120):
        n = 10.0**exponent
        counts = np.repeat([n, n / 2], 5)
        solution = ufm.solve(counts, 0.1 / counts.sum(), 0.02)
        far.append(max(abs(value + 1 / 9) for value in figures.mean_cosines(solution)))
    assert far[0] > far[1] > far[2]
    # Four times the digits, four times as near.
    assert far[1] / far[2] == pytest.approx(4, rel=0.25)
    assert far[2] < 0.0035


def test_weight_decay_keeps_the_cosines_away():
    published = figures.solve_paper_figure(9, mode="as_published", vectors="columns")
    rows = published.records()
    assert rows[-1]["cosine_inside_a"] == pytest.approx(-0.139, abs=5e-4)
    assert rows[-1]["cosine_inside_b"] == pytest.approx(-0.076, abs=5e-4)
    # Hardly any way towards -1/9, where the corrected runs go on.
    assert abs(rows[-1]["cosine_inside_a"] - rows[0]["cosine_inside_a"]) < 7e-4
    first = rows[0]
    # reg_w = 5 l + wd/2 and reg_h = l/20 with l = .1/N, N = 3750; no factors 1/2 in that loss.
    l = 0.1 / 3750  # noqa: E741
    assert first["lambda_z"] == pytest.approx(2 * math.sqrt((5 * l + 2.5e-4) * l / 20), rel=1e-12)
    assert first["lambda_b"] == pytest.approx(0.0205, rel=1e-12)


def test_modes_choose_the_vectors():
    for mode, vectors in (("corrected", "columns"), ("as_published", "rows")):
        assert figures.solve_paper_figure(9, mode=mode).vectors == vectors
    corrected, published = (
        figures.solve_paper_figure(5, mode=mode).records() for mode in ("corrected", "as_published")
    )
    assert corrected == published


def test_cosines_without_pairs_or_directions_are_nan():
    single = ufm.solve([10, 5], 0.01, 0.02)
    inside_a, inside_b, between = figures.mean_cosines(single)
    assert math.isnan(inside_a) and math.isnan(inside_b)
    assert between == pytest.approx(-1, abs=1e-9)
    zero = ufm.solve([10, 10, 5, 5], 10.0, 0.02)
    assert all(math.isnan(value) for value in figures.mean_cosines(zero))
    with pytest.raises(ValueError, match="vectors must be one of columns, rows"):
        figures.mean_cosines(single, "diagonals")


# ---------------------------------------------------------------------- features after a ReLU


def nonnegative(number):
    return figures.solve_paper_figure(number, features="nonnegative")


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_nonnegative_minority_vanishes_where_its_gradient_allows(number):
    """z_B = 0 needs |e_B - p| sqrt(n_B) / N <= lambda_z; p is the prediction of a class of B."""
    solved = nonnegative(number)
    assert solved.converged
    for panel, solution, row in zip(solved.panels, solved.solutions, solved.records(), strict=True):
        logits = solution.Z[:, -1] + solution.b
        p = np.exp(logits) / np.exp(logits).sum()
        p[-1] -= 1
        force = np.linalg.norm(p) * panel.threshold
        if row["verdict"] == "not collapsed":
            # Away from zero the condition is an equality for the part along the prediction.
            assert solution.Z[:, -1] @ -p > 0
            assert force >= panel.lambda_z * (1 - 1e-6)
        else:
            assert not solution.Z[:, -1].any()
            assert force <= panel.lambda_z * (1 + 1e-6)


def test_the_two_theories_differ_at_one_panel(solved):
    found = {row["lambda_z"]: row["verdict"] for row in nonnegative(5).records()}
    assert found[0.0033] == "collapsed to zero"
    assert found[0.0030] == "not collapsed"
    free = {row["lambda_z"]: row["verdict"] for row in solved[5].records()}
    assert free[0.0033] == "not collapsed"


def test_nonnegative_cosines_are_near_the_simplex():
    for row in nonnegative(9).records():
        for key in ("cosine_inside_a", "cosine_inside_b", "cosine_between"):
            assert row[key] == pytest.approx(-1 / 9, abs=1e-3)


def test_nonnegative_picture_names_its_reference():
    drawn = nonnegative(7).draw()
    assert "nonnegative features" in drawn.get_suptitle()
    assert "(free features)" in drawn.get_suptitle()


# ---------------------------------------------------------------------- pictures


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_heat_maps(solved, number):
    drawn = solved[number].draw()
    panels = [ax for ax in drawn.axes if ax.images]
    assert len(panels) == 10
    for ax, solution, row in zip(
        panels, solved[number].solutions, solved[number].records(), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), solution.Z)
        assert ax.images[0].norm.linthresh == 0.03
        assert row["verdict"] in ax.get_title(loc="left").splitlines()
        borders = {float(line.get_xdata()[0]) for line in ax.lines if line.get_xdata()[0] > 0}
        one_cluster = row["n_a"] == row["n_b"]
        assert (row["k_a"] - 0.5 in borders) != one_cluster
    for row_of_panels in (panels[:5], panels[5:]):
        assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in row_of_panels}) == 1


def test_cosine_picture(solved):
    drawn = solved[9].draw()
    curves = {line.get_label(): line for line in drawn.axes[0].lines}
    for label, key in (
        ("inside A", "cosine_inside_a"),
        ("inside B", "cosine_inside_b"),
        ("between A and B", "cosine_between"),
    ):
        values = [row[key] for row in solved[9].records()]
        np.testing.assert_array_equal(curves[label].get_ydata(), values)
        np.testing.assert_array_equal(curves[label].get_xdata(), np.arange(500, 5501, 500))
    assert any(np.allclose(line.get_ydata(), -1 / 9) for line in drawn.axes[0].lines)


def test_paper_figure_is_the_solved_one_drawn():
    drawn = figures.paper_figure(9, vectors="rows")
    assert "rows" in drawn.axes[0].get_ylabel()


# ---------------------------------------------------------------------- input and files


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"number": 4}, ValueError, "number must be from 5 to 9, got 4"),
        ({"number": "5"}, TypeError, "number"),
        ({"number": True}, TypeError, "number"),
        ({"number": 5, "features": "relu"}, ValueError, "features must be one of free, nonneg"),
        ({"number": 5, "mode": "as-published"}, ValueError, "mode must be one of corrected, as_"),
        ({"number": 5, "vectors": "both"}, ValueError, "vectors"),
        ({"number": 5, "tol": 0}, ValueError, "tol"),
    ],
)
def test_bad_input(arguments, kind, words):
    with pytest.raises(kind, match=words):
        figures.solve_paper_figure(**arguments)


def test_numbers_as_csv_and_json(solved, tmp_path):
    figure = solved[9]
    for name in ("n.csv", "n.json"):
        path = tmp_path / name
        path.write_text("old")
        assert figures.write_numbers(figure.to_dict(), figure.records(), path) == path
    with open(tmp_path / "n.csv", newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row, expected in zip(rows, figure.records(), strict=True):
        assert float(row["cosine_inside_a"]) == expected["cosine_inside_a"]  # every digit
        assert row["verdict"] == expected["verdict"]
    assert json.loads((tmp_path / "n.json").read_text()) == figure.to_dict()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["n.csv", "n.json"]


def test_numbers_without_a_value_are_null(tmp_path):
    path = figures.write_numbers({"x": [math.nan, 1.0]}, [{"x": 1}], tmp_path / "n.json")
    assert json.loads(path.read_text()) == {"x": [None, 1.0]}


def test_failed_numbers_leave_the_old_file(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="fields"):
        figures.write_numbers({}, [{"a": 1}, {"a": 1, "b": 2}], path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["n.csv"]


@pytest.mark.parametrize(
    ("name", "words"), [("n.txt", "end in .csv or .json"), ("none/n.csv", "does not exist")]
)
def test_bad_numbers_path(tmp_path, name, words):
    with pytest.raises(ValueError, match=words):
        figures.write_numbers({}, [{"a": 1}], tmp_path / name)
