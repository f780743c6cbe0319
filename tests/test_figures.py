"""Pictures: right content, no global state, no half-written files."""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
import pytest

import ufm

pytest.importorskip("matplotlib")

from ufm import figures
from ufm.figures._canvas import short
from ufm.figures._heatmap import _MOST_CLASSES
from ufm.figures._selection import select, ticks

COUNTS = [500, 100] * 5  # clusters are interleaved, so that the picture must sort them


@pytest.fixture(scope="module")
def solution() -> ufm.Solution:
    return ufm.solve(COUNTS, 0.0027, 0.02)


def drawn(figure) -> list[np.ndarray]:
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def text_of(figure) -> str:
    return "\n".join(ax.get_title(loc="left") for ax in figure.axes)


def test_heatmap_shows_z_sorted_by_count(solution):
    figure = figures.heatmap(solution)
    (shown,) = drawn(figure)
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert np.array_equal(shown, solution.Z[np.ix_(order, order)])
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["500", "100"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["500", "100"]
    assert len(ax.lines) == 2  # one border a direction
    assert "0.0027" in text_of(figure)
    assert "rank 9" in text_of(figure)
    assert "drawn" not in text_of(figure)


def test_heatmap_draws_into_given_axes(solution):
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert figures.heatmap(solution, ax=right) is figure
    assert not left.images
    assert len(right.images) == 1


def test_heatmap_draws_into_a_subfigure(solution):
    from matplotlib.figure import Figure

    figure = Figure()
    _, right = figure.subfigures(1, 2)
    assert figures.heatmap(solution, ax=right.subplots()) is figure
    assert len(right.axes) == 2  # the heat map and its colour bar


def test_heatmaps_share_one_scale(solution):
    merged = ufm.solve(COUNTS, 0.0051, 0.02)
    figure = figures.heatmaps([solution, merged], titles=["one", "two"])
    first, second = (ax.images[0] for ax in figure.axes if ax.images)
    assert first.norm is second.norm
    assert text_of(figure).split() == ["one", "two"]
    assert "5 of 10 merged" in text_of(figures.heatmaps([merged]))


def test_heatmap_of_zero(tmp_path):
    zero = ufm.solve(COUNTS, 1.0, 0.02)
    figures.save(figures.heatmap(zero), tmp_path / "zero.png")
    assert "10 of 10 merged" in text_of(figures.heatmap(zero))


def test_many_classes_are_drawn_in_part():
    solution = ufm.solve([900] * 5000 + [30] * 7000 + [4] * 3, 2e-6, 0.02)
    figure = figures.heatmap(solution)
    (shown,) = drawn(figure)
    assert 2 < len(shown) <= _MOST_CLASSES
    assert f"{len(shown)} of 12,003 classes drawn" in text_of(figure)
    selection = select(solution, 400)
    for k in (0, len(shown) - 1):
        j, chosen = selection.classes[k // 2], selection.classes[k]
        assert shown[k // 2, k] == solution.entry(int(j), int(chosen))


def test_selection_keeps_order_and_ends():
    counts = np.arange(1, 301)
    selection = select(ufm.solve(counts, 1.0, 0.02), 60)  # Z = 0: quick
    assert len(selection.classes) == 60
    assert selection.counts[0] == 300
    assert selection.counts[-1] == 1
    assert np.all(np.diff(selection.counts) < 0)
    assert np.array_equal(counts[selection.classes], selection.counts)
    positions, labels = ticks(selection)
    assert np.array_equal(labels, selection.counts[positions])


def test_selection_takes_two_of_a_small_cluster():
    selection = select(ufm.solve([900] * 50_000 + [4] * 3, 1.0, 0.02), 50)
    assert np.count_nonzero(selection.counts == 4) == 2
    assert len(selection.classes) <= 50


def test_collapse_path():
    lambdas = np.geomspace(0.002, 0.009, 6)
    path = [ufm.solve(COUNTS, float(lambda_z), 0.02) for lambda_z in lambdas]
    figure = figures.collapse_path(path[::-1])
    upper, lower = figure.axes
    curves = {line.get_label(): line for line in upper.lines}
    majority = curves["5 classes of 500"]
    assert np.array_equal(majority.get_xdata(), lambdas)
    assert np.array_equal(majority.get_ydata(), [solution.entry(0, 0) for solution in path])
    assert np.array_equal(lower.lines[0].get_ydata(), [solution.rank for solution in path])
    labels = " ".join(text.get_text() for text in upper.texts)
    assert "0.003333" in labels
    assert "0.007454" in labels


def test_bad_arguments(solution, tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        figures.heatmaps([])
    with pytest.raises(ValueError, match="1 given for 2"):
        figures.heatmaps([solution, solution], titles=["one"])
    with pytest.raises(ValueError, match="max_classes"):
        figures.heatmap(solution, max_classes=1)
    with pytest.raises(ValueError, match="at least two"):
        figures.collapse_path([solution])
    with pytest.raises(ValueError, match="same counts"):
        figures.collapse_path([solution, ufm.solve([5, 3], 0.1, 0.02)])
    figure = figures.heatmap(solution)
    for name, complaint in (
        ("z.docx", "format"),
        ("z", "format"),
        ("none/z.png", "does not exist"),
    ):
        with pytest.raises(ValueError, match=complaint):
            figures.save(figure, tmp_path / name)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_save(solution, tmp_path, suffix):
    path = tmp_path / f"z.{suffix}"
    path.write_text("an old picture")
    assert figures.save(figures.heatmap(solution), path) == path
    first = path.read_bytes()
    assert len(first) > 1000
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if suffix == "png":
        figures.save(figures.heatmap(solution), path)
        assert path.read_bytes() == first


def test_failed_save_leaves_the_old_picture(solution, tmp_path, monkeypatch):
    path = tmp_path / "z.png"
    path.write_text("an old picture")
    figure = figures.heatmap(solution)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        figures.save(figure, path)
    assert path.read_text() == "an old picture"
    assert [entry.name for entry in tmp_path.iterdir()] == ["z.png"]


def test_drawing_in_threads(solution, tmp_path):
    errors: list[BaseException] = []

    def draw(index: int) -> None:
        try:
            figures.save(figures.heatmap(solution), tmp_path / f"{index}.png")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_no_pyplot_and_no_global_settings(run_python):
    script = """
import json, sys, matplotlib
# Plain access to the setting "backend" would import pyplot.
settings = lambda: repr(sorted(dict.items(matplotlib.rcParams)))
before = settings()
import ufm
from ufm import figures
figures.heatmap(ufm.solve([5, 5, 3, 3], 0.05, 0.02))
print(json.dumps(["matplotlib.pyplot" in sys.modules, before == settings()]))
"""
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True]


def test_missing_matplotlib_is_explained(solution, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "ufm\[plot\]"'):
        figures.heatmap(solution)


def test_short():
    numbers = (0.5, 500, 4980, 9999.6, 12345, 999_999, 28_787_591, 2.5e9)
    shown = ["0.5", "500", "4980", "9999.6", "12.3k", "1M", "28.8M", "2.5G"]
    assert [short(number) for number in numbers] == shown
