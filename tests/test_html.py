"""Results in notebooks: well-formed small tables, escaped, cheap for very many classes."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import numpy as np
import pytest

import ufm
from ufm._html import MOST_ROWS, Table, View, elided, number, yes_no

COUNTS = [500] * 5 + [100] * 5
VOID = {"br", "hr", "img", "meta", "link"}


class Reader(HTMLParser):
    """Texts of tables by caption; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self.scopes: set[str | None] = set()
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert tag not in VOID
        self.open.append((tag, dict(attrs)))
        self.tags.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in {"td", "th"}:
            self._rows[-1].append("")
        if tag == "th":
            self.scopes.add(dict(attrs).get("scope"))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        inside = [tag for tag, _ in self.open]
        if "style" in inside:
            return
        self.texts.append(data)
        if "caption" in inside:
            self._caption += data
        elif inside and inside[-1] in {"td", "th"}:
            self._rows[-1][-1] += data


def results():
    """Every result that shows itself, by name."""
    solution = ufm.solve(COUNTS, 0.0051, 0.02)
    geometry = ufm.predicted_geometry(solution)
    rng = np.random.default_rng(3)
    statistics = ufm.metrics.class_statistics(
        rng.normal(size=(60, 4)) + np.repeat(np.eye(3, 4) * 5, 20, axis=0),
        np.repeat(np.arange(3), 20),
    )
    limit = ufm.seli(COUNTS)
    return {
        "Solution": solution,
        "NonnegativeSolution": ufm.nonnegative_solution(COUNTS, 0.0051, 0.02),
        "LayerPeeledSolution": ufm.layer_peeled([50, 50, 5, 5], energy_w=1.0, energy_h=1.0),
        "Batch": ufm.solve_many(COUNTS, np.geomspace(1e-3, 1e-2, 30), 0.02),
        "Batch, empty": ufm.solve_many(COUNTS, np.empty(0), 0.02),
        "Thresholds": ufm.thresholds(COUNTS, 0.02),
        "BiasOnlyThresholds": ufm.bias_only_thresholds(COUNTS, 0.02),
        "NonnegativeThresholds": ufm.nonnegative_thresholds(COUNTS, 0.02),
        "TwoClusterThresholds": ufm.two_cluster_thresholds((5, 5), (500, 100), 0.02),
        "CriticalRatios": ufm.critical_ratios((5, 5), 100, 0.005, 0.02),
        "ImbalanceLimit": ufm.imbalance_limit((5, 1), 100, 0.5, 1.0),
        "SampleScales": ufm.sample_scales(COUNTS, 0.0027, 0.02),
        "LargeSampleLimit": ufm.large_sample_limit(COUNTS, 0.1),
        "SeliLimit": limit,
        "Geometry": geometry,
        "GramMatrix": geometry.classifier,
        "Cosines": ufm.prediction_cosines(solution),
        "Confusion": ufm.confusion(solution),
        "ClusterMatrix": limit.direction,
        "Advice": ufm.advise(COUNTS, lambda_z=0.0035, lambda_b=0.02),
        "Path": ufm.path(COUNTS, lambda_b=0.02, num=8),
        "Comparison": ufm.compare_prediction(solution.Z, solution.b, COUNTS, 0.0051, 0.02),
        "Report": ufm.metrics.report(statistics),
    }


@pytest.fixture(scope="module")
def shown():
    return results()


NAMES = [
    "Solution", "NonnegativeSolution", "LayerPeeledSolution", "Batch", "Batch, empty",
    "Thresholds", "BiasOnlyThresholds", "NonnegativeThresholds", "TwoClusterThresholds",
    "CriticalRatios", "ImbalanceLimit", "SampleScales", "LargeSampleLimit", "SeliLimit", "Geometry",
    "GramMatrix", "Cosines", "Confusion", "ClusterMatrix", "Advice", "Path", "Comparison", "Report",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_well_formed(shown, name):
    result = shown[name]
    read = Reader(result._repr_html_())
    assert read.tables and "" not in read.tables  # every table has a caption
    assert read.scopes <= {"row", "col"}
    for rows in read.tables.values():
        widths = {len(row) for row in rows if row != ["\N{HORIZONTAL ELLIPSIS}"]}
        assert len(widths) == 1
        assert len(rows) <= 22  # a report of metrics is the longest
    assert f'aria-label="ufm.{type(result).__name__}"' in result._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_repr_is_one_line(shown, name):
    text = repr(shown[name])
    assert text.startswith(f"<ufm.{name.split(',')[0]}") and text.endswith(">")
    assert "\n" not in text and len(text) < 300


def test_all_results_are_here(shown):
    """A public record that has a summary shows itself too."""
    public = {name for name in ufm.__all__ if isinstance(getattr(ufm, name), type)}
    summarised = {name for name in public if hasattr(getattr(ufm, name), "summary")}
    assert summarised <= set(NAMES)
    assert list(shown) == NAMES


def test_numbers_are_those_of_the_result(shown):
    tables = Reader(shown["Solution"]._repr_html_()).tables
    assert tables["Clusters"] == [
        ["samples a class", "classes", "verdict", "z_kk", "b_k"],
        ["500", "5", "separate", "1.1777", "0.5403"],
        ["100", "5", "merged", "0.0000", "-0.5403"],
    ]
    facts = dict(tables["Unconstrained feature model"])
    assert float(facts["objective"]) == pytest.approx(1.9412208896, abs=1e-9)
    assert facts["rank of Z"] == "4"
    thresholds = Reader(shown["Thresholds"]._repr_html_()).tables["Clusters"]
    assert float(thresholds[2][2]) == pytest.approx(1 / 300)


def test_many_problems_are_elided(shown):
    rows = Reader(shown["Batch"]._repr_html_()).tables["Problems"]
    assert len(rows) == 1 + MOST_ROWS + 1 and rows[6] == ["\N{HORIZONTAL ELLIPSIS}"]
    assert [row[0] for row in rows[7:]] == ["25", "26", "27", "28", "29"]


def test_text_is_escaped():
    evil = '<script>alert("x")</script>&amp;'
    view = View(evil, evil, {evil: evil}, [Table(evil, (evil, "b"), [(evil, "1"), None])], [evil])
    read = Reader(view.html(evil))
    assert "script" not in read.tags
    assert read.texts.count(evil) == 7
    counts = {"<b>bold</b>": 500, "plain & simple": 500, "z": 100, "y": 100}
    advice = ufm.advise(list(counts.values()), lambda_z=0.02, lambda_b=0.02, names=list(counts))
    assert "b" not in Reader(advice._repr_html_()).tags


def test_a_glance_at_many_classes_is_cheap():
    counts = np.arange(1, 1501.0)[::-1]
    solution = ufm.solve(counts, 0.3 / counts.sum(), 0.01)
    begin = time.perf_counter()
    text = solution._repr_html_()
    assert time.perf_counter() - begin < 1.0
    assert len(text) < 10_000
    assert not {"Z", "blocks", "clusters", "singular_values"} & set(vars(solution))
    assert len(Reader(text).tables["Clusters"]) == 1 + MOST_ROWS + 1
    grouped = ufm.solve(np.repeat([500.0, 20.0, 3.0], 100_000), 1e-6, 0.01)
    begin = time.perf_counter()
    assert "300000 in 3 clusters" in grouped._repr_html_()
    assert time.perf_counter() - begin < 1.0
    thresholds = ufm.thresholds(counts, 0.01)
    assert len(thresholds._repr_html_()) < 10_000 and len(repr(thresholds)) < 200
    cosines = ufm.prediction_cosines(solution)
    assert len(cosines._repr_html_()) < 30_000


def test_pieces():
    assert elided(range(3)) == [0, 1, 2]
    assert elided(range(100)) == [0, 1, 2, 3, 4, None, 95, 96, 97, 98, 99]
    assert number(float("nan")) == "\N{EN DASH}" and number(-np.inf) == "-\N{INFINITY}"
    assert number(1 / 3, 3) == "0.333"
    assert [yes_no(v) for v in (True, False, None)] == ["yes", "no", "\N{EN DASH}"]


def test_import_stays_light(run_python):
    done = run_python(
        "import sys, ufm._html\n"
        "heavy = {'numpy', 'scipy', 'torch', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr
