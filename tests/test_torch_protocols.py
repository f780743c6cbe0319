"""Protocols: every file parses, counts and lambdas are the paper's, quirks are kept on request."""

from __future__ import annotations

import tomllib

import pytest

torch = pytest.importorskip("torch")

import ufm  # noqa: E402
from ufm.counts import load_counts  # noqa: E402
from ufm.torch import RunConfig, load_protocol, protocol_names  # noqa: E402
from ufm.torch._theory import penalty_of  # noqa: E402
from ufm.torch.config import to_toml  # noqa: E402

FULL = [f"figure{i}" for i in range(1, 10)]
CPU = [f"{name}-cpu" for name in FULL]


def _penalty(config):
    """The penalties that act, weight decay included."""
    samples = load_counts(config.data.counts).sum()
    training = config.training
    decay = training.weight_decay if training.weight_decay_classifier else 0.0
    return penalty_of(config, samples).plus_weight_decay(decay)


def _totals(name):
    """Distinct numbers of training images, in order."""
    runs = load_protocol(name).runs()
    return list(dict.fromkeys(int(load_counts(run.data.counts).sum()) for run in runs))


def test_every_figure_has_both_sizes():
    assert set(FULL + CPU) <= set(protocol_names())


@pytest.mark.parametrize("name", protocol_names())
def test_configurations_survive_toml(name):
    for config in load_protocol(name).runs():
        assert RunConfig.from_dict(tomllib.loads(to_toml(config.to_dict()))) == config
        assert len(load_counts(config.data.counts)) == 10


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("figure1", [41000, 30000]),
        ("figure5", [3000]),
        ("figure6", [2200]),
        (
            "figure7",
            [5 * (n + 100) for n in (100, 200, 300, 400, 600, 800, 1000, 1100, 1200, 1400)],
        ),
        (
            "figure8",
            [3 * n + 700 for n in (100, 400, 450, 500, 700, 1000, 1600, 2200, 2500, 2800)],
        ),
        ("figure9", [n * 15 // 2 for n in range(500, 5501, 500)]),
        ("figure1-cpu", [4100, 3000]),
        ("figure5-cpu", [3000]),
    ],
)
def test_counts_are_the_papers(name, totals):
    assert _totals(name) == totals


@pytest.mark.parametrize(("name", "runs"), [("figure1", 12), ("figure2", 12), ("figure3", 2)])
def test_runs_of_the_block_figures(name, runs):
    found = load_protocol(name).runs()
    assert len(found) == runs
    for config in found:
        assert _penalty(config).lambda_z == pytest.approx(7.0710678e-5, rel=1e-7)
        assert config.training.epochs == 1000


@pytest.mark.parametrize(
    ("name", "first", "last", "threshold"),
    [("figure5", 0.0027, 0.0075, 0.0033333), ("figure6", 0.0037, 0.0102, 0.0045455)],
)
def test_minority_runs_cross_the_threshold(name, first, last, threshold):
    for size in (name, f"{name}-cpu"):
        runs = load_protocol(size).runs()
        values = sorted({run.penalty.lambda_z for run in runs})
        assert (len(values), values[0], values[-1]) == (10, first, last)
        counts = load_counts(runs[0].data.counts)
        found = min(c.collapse for c in ufm.thresholds(counts, 0.02).clusters)
        assert found == pytest.approx(threshold, rel=1e-4)
        assert all(_penalty(run).lambda_z == pytest.approx(run.penalty.lambda_z) for run in runs)
        assert all(_penalty(run).lambda_b == pytest.approx(0.02) for run in runs)


@pytest.mark.parametrize("name", ["advised-cpu", "accuracy-digits"])
def test_accuracy_runs_follow_the_advisor(name):
    """The protocol's factors are the advisor's own for its counts and lambdas."""
    runs = load_protocol(name).runs()
    variants = {run.name.rpartition("_")[0]: run for run in runs}
    collapsing = variants["above-ramped"]
    counts = load_counts(collapsing.data.counts)
    penalty = _penalty(collapsing)
    advice = ufm.advise(counts, lambda_z=penalty.lambda_z, lambda_b=penalty.lambda_b)
    factors = variants["above-advised"].training.oversample
    assert advice.oversampling.samples == pytest.approx(factors * counts, abs=0.5)
    assert factors != (1.0,) * 10
    if "above-advised-lambda" in variants:
        less = _penalty(variants["above-advised-lambda"]).lambda_z
        assert less == pytest.approx(advice.largest_lambda_z, rel=1e-3)
        weights = variants["above-advised-weights"].training.class_weights
        assert advice.weights.plain == pytest.approx(weights, rel=5e-3)
    # And both theories have them apart with it, together without.
    for solve in (ufm.solve, ufm.nonnegative_solution):
        lambdas = (penalty.lambda_z, penalty.lambda_b)
        assert solve(counts, *lambdas).collapsed[-1]
        assert not solve(advice.oversampling.samples, *lambdas).collapsed[-1]


def test_margin_runs_follow_the_advisor():
    runs = load_protocol("accuracy-digits").runs()
    variants = {run.name.rpartition("_")[0]: run for run in runs}
    collapsing = variants["above-ramped"]
    counts, penalty = load_counts(collapsing.data.counts), _penalty(collapsing)
    found = ufm.advise(
        counts,
        lambda_z=penalty.lambda_z,
        lambda_b=penalty.lambda_b,
        target="positive_margin",
        features="nonnegative",
    ).positive_margin
    factors = variants["above-margin"].training.oversample
    assert found.oversampling.factors == pytest.approx(factors)
    less = _penalty(variants["above-margin-lambda"]).lambda_z
    assert less == pytest.approx(found.lambda_z.value, rel=1e-4) and less < found.lambda_z.value
    weights = variants["above-margin-weights"].training.class_weights
    assert found.plain_weights.factors == pytest.approx(weights, rel=1e-3)
    assert max(weights) > found.plain_weights.factors.max()


def test_published_quirks_are_kept_on_request():
    """Learning rate, warm start and weight decay, as the published code has them."""
    block = load_protocol("figure1").runs("as_published")[0]
    assert (block.training.learning_rate, block.training.milestones) == (0.01, (1 / 3,))
    minority = load_protocol("figure5").runs("as_published")
    assert len(minority) == 10  # no remedies
    first = minority[0]
    assert (first.training.learning_rate, first.training.milestones) == (0.01, (2 / 3,))
    assert (first.penalty.ramp_start, first.penalty.ramp_shape) == (0.1, "step")
    assert first.penalty.ramp_until == pytest.approx(1 / 6)
    assert (first.model.slope, first.training.centre_bias) == (0.0, False)
    # reg_w = 5 l and reg_h = l/20 without halves.
    penalty = _penalty(first)
    assert penalty.lambda_w == pytest.approx(10 * 0.0027)
    assert penalty.lambda_h == pytest.approx(0.1 * 0.0027)
    limit = load_protocol("figure9")
    published, mended = limit.runs("as_published"), limit.runs()
    grown = [_penalty(run).lambda_z * load_counts(run.data.counts).sum() for run in published]
    assert grown == sorted(grown) and grown[-1] > 1.5 * 0.1
    for run in mended:
        total = load_counts(run.data.counts).sum()
        assert _penalty(run).lambda_z * total == pytest.approx(0.1)


@pytest.mark.parametrize("name", FULL)
def test_both_sizes_have_both_modes(name):
    """Also in CPU size the published mode is SGD at 0.01 on ReLU networks, without remedies."""
    whole, small = load_protocol(name), load_protocol(f"{name}-cpu")
    assert whole.figures == small.figures == (int(name.removeprefix("figure")),)
    for full, cpu in zip(whole.runs("as_published"), small.runs("as_published"), strict=False):
        assert (full.mode, cpu.mode) == ("as_published", "as_published")
        for found in (full, cpu):
            training = found.training
            assert (training.optimizer, training.learning_rate) == ("sgd", 0.01)
            assert training.milestones == full.training.milestones
            assert training.weight_decay == full.training.weight_decay
            assert found.model.features == "relu" and found.model.slope == 0.0
            assert not (training.centre_bias or training.polish or training.oversample)
            assert training.bias_rate == 1.0
        ramp = ("ramp_start", "ramp_until", "ramp_shape", "w_ratio")
        for key in ramp:
            assert getattr(full.penalty, key) == getattr(cpu.penalty, key)
    for run in small.runs():
        assert run.mode == "corrected"


def test_published_block_runs_in_cpu_size_are_at_the_same_multiple_of_the_threshold():
    for whole, small in (("figure1", "figure1-cpu"), ("figure3", "figure3-cpu")):
        ratios = []
        for name in (whole, small):
            found = set()
            for run in load_protocol(name).runs("as_published"):
                counts = load_counts(run.data.counts)
                penalty = _penalty(run)
                assert penalty.lambda_b == pytest.approx(0.0205)
                found.add(round(penalty.lambda_z * counts.sum() / counts.min() ** 0.5, 6))
            ratios.append(found)
        assert ratios[0] == ratios[1]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[as_published]\nvariants = ['b']", "no variant 'b'"),
        ("[as_published]\nvariant = ['a']", "unknown key 'variant'"),
    ],
)
def test_faulty_published_tables_are_refused(tmp_path, table, words):
    protocol = _write(tmp_path, f"{table}\n[penalty]\nlambda_z = 0.1\n[variants.a]\n")
    assert len(protocol.runs()) == 1
    with pytest.raises(ValueError, match=words):
        protocol.runs("as_published")


def test_corrected_rates_start_at_a_tenth():
    config = load_protocol("figure5").runs()[0]
    assert config.mode == "corrected"
    assert config.training.learning_rate == 0.1
    assert len(config.training.milestones) == 2


def _write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_protocol(path)


def test_grid_variants_and_seeds(tmp_path):
    protocol = _write(
        tmp_path,
        """
        seeds = [3, 4]
        [penalty]
        lambda_b = 0.1
        [grid]
        "penalty.lambda_z" = [0.1, 0.2]
        "model.features" = ["linear", "relu"]
        [variants.a]
        [variants.b.model]
        slope = 0.2
        [variants.b.when]
        "model.features" = "relu"
        """,
    )
    runs = protocol.runs()
    assert len(runs) == 2 * (4 + 2)
    assert runs[0].name == "a_lambda_z=0.1_linear_seed=3"
    assert {run.name for run in runs if run.model.slope} == {
        f"b_lambda_z={z}_relu_seed={s}" for z in (0.1, 0.2) for s in (3, 4)
    }
    assert all(run.seed == run.data.seed for run in runs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[penalty]\nlambda_z = 0.1\n[modle]\n", "unknown key 'modle'"),
        ("[penalty]\nlambda_z = 0.1\n[model]\nwdith = 3\n", "unknown key 'model.wdith'"),
        ("[penalty]\nlambda_z = 0.1\nreg_w = 0.1\n", "exactly one of"),
        ("[penalty]\n", "exactly one of"),
        ("[penalty]\nlambda_z = 0.1\n[training]\nepochs = 0\n", "epochs must be positive"),
        ("[penalty]\nlambda_z = 0.1\n[training]\noptimizer = 'lion'\n", "adam, sgd"),
        ("[penalty]\nlambda_z = nan\n", "must be finite"),
        ("[penalty\n", "not valid TOML"),
        ("[penalty]\nlambda_z = 0.1\n[grid]\nseed = 3\n", "must be a list"),
        ("[penalty]\nlambda_z = 0.1\n[grid]\nseed = [3, 3]\n", "same run twice"),
    ],
)
def test_faulty_protocols_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        _write(tmp_path, text).runs()


def test_wrong_types_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"training\.epochs must be of type int"):
        _write(tmp_path, "[penalty]\nlambda_z = 0.1\n[training]\nepochs = 'many'\n").runs()
    with pytest.raises(ValueError, match=r"one of .*figure5"):
        load_protocol("figure10")
    with pytest.raises(ValueError, match="no mode as_published"):
        load_protocol("figure5-digits").runs("as_published")
