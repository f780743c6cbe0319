"""Networks beside the theory: lambdas from optimizers, errors, verdicts, stored runs, the demo."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
pytest.importorskip("torchmetrics", reason="TorchMetrics is not installed (extra torch)")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import ufm  # noqa: E402
import ufm.torch  # noqa: E402
from ufm.torch import FeaturePenalty  # noqa: E402

COUNTS = [50, 50, 50, 10, 10, 10]
LAMBDA_Z, LAMBDA_B = 0.012, 0.03


class Optimal(nn.Module):
    """A classifier and features that are the solution's own factors, exactly."""

    def __init__(self, solution, lambda_w):
        super().__init__()
        W, H = solution.factors(lambda_w=lambda_w)
        self.embed = nn.Embedding.from_pretrained(torch.tensor(H.T), freeze=True)
        self.fc = nn.Linear(*reversed(W.shape), dtype=torch.float64)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(W))
            self.fc.bias.copy_(torch.tensor(solution.b))

    def forward(self, labels):
        return self.fc(self.embed(labels))


@pytest.fixture(scope="module")
def free():
    return ufm.solve(COUNTS, LAMBDA_Z, LAMBDA_B, tol=1e-11)


@pytest.fixture(scope="module")
def nonnegative():
    return ufm.nonnegative_solution(COUNTS, LAMBDA_Z, LAMBDA_B, tol=1e-11)


@pytest.fixture
def loader():
    labels = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    return DataLoader(TensorDataset(labels, labels), batch_size=64)


def groups(model, weight=0.0, bias=0.0):
    return [
        {"params": [model.fc.weight], "weight_decay": weight},
        {"params": [model.fc.bias], "weight_decay": bias},
    ]


@pytest.mark.parametrize("kind", ["SGD", "Adam", "NAdam", "RMSprop"])
def test_lambdas_from_parameter_groups_and_the_features_penalty(free, loader, kind):
    lambda_w = 0.04
    model = Optimal(free, lambda_w)
    optimizer = getattr(torch.optim, kind)(groups(model, lambda_w, LAMBDA_B), lr=0.1)
    found = ufm.torch.compare(model, loader, optimizer, feature_penalty=LAMBDA_Z**2 / lambda_w)
    assert found.lambda_z == pytest.approx(LAMBDA_Z)
    assert found.lambda_b == pytest.approx(LAMBDA_B)
    np.testing.assert_array_equal(found.counts, COUNTS)
    fit = found.fit("free")
    assert found.best is fit
    assert fit.errors.Z_relative < 1e-4
    assert fit.errors.b_centred_relative < 1e-4
    assert fit.cosine_error < 1e-4
    assert fit.grams.W < 1e-3
    assert fit.grams.M < 1e-3
    assert fit.agrees
    assert callable(ufm.torch.collect)


def test_weight_decay_adds_to_the_penalty_object(free, loader):
    model = Optimal(free, 0.04)
    penalty = FeaturePenalty(0.03, LAMBDA_Z**2 / 0.04, 0.01, num_samples=sum(COUNTS))
    optimizer = torch.optim.SGD(groups(model, 0.01, 0.02), lr=0.1)
    found = ufm.torch.compare(model, loader, optimizer, feature_penalty=penalty)
    assert found.lambda_z == pytest.approx(LAMBDA_Z)
    assert found.lambda_b == pytest.approx(0.03)
    with pytest.raises(ValueError, match="is for 180 samples"):
        ufm.torch.compare(
            model, loader, optimizer, feature_penalty=penalty, counts=2 * np.array(COUNTS)
        )


def test_features_after_a_relu_are_nearer_to_the_nonnegative_theory(nonnegative, loader):
    found = ufm.torch.compare(
        Optimal(nonnegative, 0.05), loader, lambda_z=LAMBDA_Z, lambda_b=LAMBDA_B
    )
    assert found.best.name == "nonnegative"
    assert found.fit("nonnegative").errors.Z_relative < 1e-4
    assert found.fit("free").errors.Z_relative > 0.05
    assert found.fit("nonnegative").agrees


def test_no_bias_is_an_infinite_penalty(loader):
    solution = ufm.solve(COUNTS, LAMBDA_Z, math.inf, tol=1e-11)
    model = Optimal(solution, 0.04)
    model.fc.bias = None
    optimizer = torch.optim.SGD([model.fc.weight], lr=0.1, weight_decay=0.04)
    found = ufm.torch.compare(
        model, loader, optimizer, feature_penalty=LAMBDA_Z**2 / 0.04, theories="free"
    )
    assert found.b is None
    assert found.lambda_b == math.inf
    assert found.fit("free").errors.Z_relative < 1e-4
    assert "b centred" not in found.summary()
    with pytest.raises(KeyError, match="nonnegative"):
        found.fit("nonnegative")


def test_decoupled_weight_decay_is_refused(free, loader):
    model = Optimal(free, 0.04)
    for optimizer in (
        torch.optim.AdamW(model.fc.parameters(), weight_decay=0.01),
        torch.optim.NAdam(model.fc.parameters(), weight_decay=0.01, decoupled_weight_decay=True),
    ):
        with pytest.raises(ValueError, match=r"decouples its weight decay.*give lambda_z"):
            ufm.torch.compare(model, loader, optimizer, feature_penalty=1e-3)
    found = ufm.torch.compare(model, loader, optimizer, lambda_z=LAMBDA_Z, lambda_b=LAMBDA_B)
    assert found.fit("free").errors.Z_relative < 1e-4


def test_what_cannot_be_inferred_is_named(free, loader):
    model = Optimal(free, 0.04)
    of_bias = torch.optim.SGD([model.fc.bias], lr=0.1, weight_decay=0.1)
    cases = [
        ({"lambda_b": 0.1}, "feature_penalty must be given"),
        ({"lambda_z": 0.1}, "optimizer must be given where lambda_b"),
        ({"optimizer": of_bias, "feature_penalty": 0.1}, "does not train the classifier's weight"),
        ({"feature_penalty": -1.0}, "feature_penalty must be positive"),
        ({"lambda_z": 0.1, "lambda_b": 0.1, "classifier": "head"}, "classifier must name"),
        ({"lambda_z": 0.1, "lambda_b": 0.1, "theories": ["both"]}, "theories must be"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            ufm.torch.compare(model, loader, **options)
    plain = torch.optim.SGD(model.fc.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="lambda_w must be positive"):
        ufm.torch.compare(model, loader, plain, feature_penalty=0.1)
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="none of class 1"):
        ufm.torch.compare(
            model, DataLoader(TensorDataset(labels, labels)), lambda_z=0.1, lambda_b=0.1
        )


def test_errors_and_verdicts_of_a_disturbed_optimum(free):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((6, 6))
    Z, b = free.Z + 0.3 * noise, free.b + 5.0
    found = ufm.compare_prediction(Z, b, COUNTS, LAMBDA_Z, LAMBDA_B, theories=["free"])
    errors = found.fit("free").errors
    assert errors.Z_rms == pytest.approx(0.3 * np.sqrt(np.mean(noise**2)), rel=1e-4)
    assert errors.Z_relative == pytest.approx(
        0.3 * np.linalg.norm(noise) / np.linalg.norm(free.Z), rel=1e-4
    )
    assert errors.b_centred_max < 1e-5
    assert errors.b_max == pytest.approx(5.0, rel=1e-4)
    assert errors.b_mean == pytest.approx(5.0, rel=1e-4)
    # sqrt(50)/180 > sqrt(10)/180 > lambda_z: theory keeps both apart.
    assert found.fit("free").collapsed == (False, False)
    merged = free.Z.copy()
    merged[:, 3:] = merged[:, 3:].mean(axis=1, keepdims=True)
    other = ufm.compare_prediction(merged, free.b, COUNTS, LAMBDA_Z, LAMBDA_B)
    assert [cluster.collapsed for cluster in other.clusters] == [False, True]
    assert not other.fit("free").agrees
    assert "verdicts as predicted with free features: no" in other.summary()


def test_above_lambda_max_both_theories_say_the_same():
    lambda_z = 1.01 * ufm.thresholds(COUNTS, LAMBDA_B).lambda_max
    bias = ufm.solve(COUNTS, lambda_z, LAMBDA_B, tol=1e-11).b
    Z = np.random.default_rng(1).standard_normal((6, 6)) * 1e-3
    found = ufm.compare_prediction(Z, bias, COUNTS, lambda_z, LAMBDA_B)
    assert found.best is None
    assert all(cluster.collapsed for cluster in found.clusters)  # by atol: everything is small
    assert found.fit("free").errors.Z_relative == math.inf
    assert found.fit("free").errors.Z_max < 0.01
    assert "the two predict the same Z" in found.summary()


def test_class_weights_and_tensors():
    counts, weights = [20, 20, 20, 20, 5, 5], [1.0, 2.0, 1.0, 2.0, 1.0, 1.0]
    solution = ufm.solve(counts, 0.02, 0.05, class_weights=weights, tol=1e-11)
    W, H = solution.factors()
    found = ufm.compare_prediction(
        (torch.tensor(W), torch.tensor(H.T)),
        torch.tensor(solution.b),
        counts,
        0.02,
        0.05,
        class_weights=weights,
    )
    assert [cluster.class_weight for cluster in found.clusters] == [2.0, 1.0, 1.0]
    assert found.fit("free").errors.Z_relative < 1e-4
    assert found.fit("free").agrees
    np.testing.assert_allclose(found.Z, solution.Z, atol=1e-12)


def test_penalties_that_do_not_make_lambda_z_are_refused(free):
    W, _ = free.factors(lambda_w=0.04)
    given = (W, W)  # refused before it is looked at
    options = {"theories": "free", "tol": 1e-6}
    for lambda_w, lambda_h in ((1.0, 1.0), (0.04, 1.001 * LAMBDA_Z**2 / 0.04)):
        with pytest.raises(ValueError, match="lambda_w and lambda_h must have"):
            ufm.compare_prediction(
                given, free.b, COUNTS, LAMBDA_Z, LAMBDA_B,
                lambda_w=lambda_w, lambda_h=lambda_h, **options,
            )  # fmt: skip
    with pytest.raises(ValueError, match="lambda_w must be"):
        ufm.compare_prediction(
            given, free.b, COUNTS, LAMBDA_Z, LAMBDA_B, lambda_w=-1.0, lambda_h=-1.0
        )


@pytest.mark.parametrize(("device", "kind"), [("foo", ValueError), (3.5, TypeError)])
def test_a_device_that_is_none_is_named(free, loader, device, kind):
    with pytest.raises(kind, match="device must be"):
        ufm.torch.compare(
            Optimal(free, 0.04), loader, lambda_z=LAMBDA_Z, lambda_b=LAMBDA_B, device=device
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra torch)")
    config = ufm.torch.RunConfig.from_dict(
        {
            "data": {"source": "digits", "counts": "24x3,8x3"},
            "model": {"hidden": [48], "width": 24},
            "penalty": {"lambda_z": 0.02, "lambda_b": 0.05, "ramp_until": 0.5},
            "training": {"epochs": 30, "batch_size": 32, "learning_rate": 3e-3, "polish": 60},
        }
    )
    return ufm.torch.train(config, tmp_path_factory.mktemp("runs") / "run")


def test_a_stored_run(run):
    found = ufm.torch.compare_run(run.folder)
    fit = found.fit("free")
    assert found.best is fit
    assert fit.errors.Z_relative == pytest.approx(run.metrics["error_Z"][-1], rel=1e-3)
    assert fit.errors.b_centred_relative == pytest.approx(run.metrics["error_b"][-1], rel=1e-2)
    assert fit.errors.Z_relative < 0.05
    np.testing.assert_allclose(found.Z, run.final["Z"], atol=1e-12)


def test_command(run, capsys, tmp_path):
    pytest.importorskip("click")
    pytest.importorskip("matplotlib")
    from ufm.cli import main

    picture = tmp_path / "z.png"
    assert main(["compare", str(run.folder), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "nearer theory: free features" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", str(run.folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["best"] == "free"
    assert record["theories"]["free"]["errors"]["Z_relative"] < 0.05
    assert [cluster["multiplicity"] for cluster in record["clusters"]] == [3, 3]


def test_command_on_what_is_no_run(run, capsys, tmp_path):
    pytest.importorskip("click")
    from ufm.cli import main

    assert main(["compare", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    state = json.loads((run.folder / "run.json").read_text())
    for name in ("config.toml", "final.npz"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    (tmp_path / "run.json").write_text(json.dumps({**state, "status": "running"}))
    assert main(["compare", str(tmp_path)]) == 2
    assert "must be finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["lambda_z", "lambda_w", "lambda_h", "lambda_b", "W", "means", "b"]
)
def test_command_on_a_damaged_run(run, capsys, tmp_path, name):
    pytest.importorskip("click")
    from ufm.cli import main

    (tmp_path / "config.toml").write_bytes((run.folder / "config.toml").read_bytes())
    state = {key: value for key, value in run.state.items() if key != name}
    (tmp_path / "run.json").write_text(json.dumps(state))
    np.savez(tmp_path / "final.npz", **{k: v for k, v in run.final.items() if k != name})
    assert main(["compare", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    file = "run.json" if name.startswith("lambda") else "final.npz"
    assert f"{file} is damaged: it holds no '{name}'" in error and error.count("\n") == 1


@pytest.mark.slow
def test_demo_ends_with_networks(capsys, tmp_path):
    pytest.importorskip("click")
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    from ufm.cli import main

    assert main(["demo", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("5 classes of 20: separate, predicted separate") == 1
    assert out.count("5 classes of 20: merged, predicted merged") == 2
    names = {path.name for path in tmp_path.glob("network-*.png")}
    assert names == {"network-separate.png", "network-merged.png", "network-relu-merged.png"}
