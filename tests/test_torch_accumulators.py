"""Streaming accumulators: batches, parts, processes, devices, precisions, pickles."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import sys
import warnings

import numpy as np
import pytest

from metric_data import random_network

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
pytest.importorskip("torchmetrics", reason="TorchMetrics is not installed (extra torch)")

from torchmetrics import MetricCollection  # noqa: E402

from ufm import metrics  # noqa: E402
from ufm.torch import (  # noqa: E402
    CollapseMetrics,
    FeatureStatistics,
    NearestMeanAgreement,
    collect,
)

K, DIM = 7, 5
STATE = ("counts", "means", "variances", "covariance")


def network(seed=0):
    features, labels, W, b = random_network(seed, K, DIM)
    head = torch.nn.Linear(DIM, K, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(W))
        head.bias.copy_(torch.from_numpy(b))
    return torch.from_numpy(features), torch.from_numpy(labels), head


def feed(metric, features, labels, size=11, **kwargs):
    for start in range(0, len(labels), size):
        metric.update(features[start : start + size], labels[start : start + size], **kwargs)
    return metric


def assert_equals(found, expected, rel=1e-12):
    for name in STATE:
        one, other = (np.asarray(getattr(s, name)) for s in (found, expected))
        assert one == pytest.approx(other, rel=rel, abs=1e-15, nan_ok=True), name


@pytest.mark.parametrize("size", [1, 3, 11, 1000])
def test_batches_of_any_size(size):
    """Smaller than K they take the path that leaves most classes untouched."""
    features, labels, _ = network()
    found = feed(FeatureStatistics(K + 1, DIM), features, labels, size).statistics()
    assert_equals(found, metrics.class_statistics(features, labels, K + 1))
    assert found.counts[K] == 0 and bool(found.means[K].isnan().all())


def test_everything_in_one_pass():
    features, labels, head = network()
    logits = head(features).detach()
    metric = CollapseMetrics(K, DIM)
    for part in (slice(0, 20), slice(20, None)):
        metric.update(features[part], labels[part], logits[part], classifier=head)
    values = metric.compute()
    statistics = metrics.class_statistics(features, labels)
    expected = metrics.report(statistics, head.weight, head.bias).to_dict()
    for name, value in expected.items():
        assert values[name].dtype == torch.float64 and values[name].ndim == 0
        assert float(values[name]) == pytest.approx(value, rel=1e-9)
    correct = logits.argmax(1) == labels
    assert float(values["accuracy"]) == pytest.approx(float(correct.double().mean()))
    by_class = [float(correct[labels == k].double().mean()) for k in range(K)]
    assert float(values["balanced_accuracy"]) == pytest.approx(np.mean(by_class))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert float(values["loss"]) == pytest.approx(float(loss))
    assert metric.report().summary().startswith("Collapse metrics: K = 7")
    found = feed(FeatureStatistics(K, DIM, covariance=False), features, labels)
    found.update(features, labels, logits)
    assert found.compute()["class_accuracy"].tolist() == pytest.approx(by_class)
    assert "covariance" not in found.compute()


def test_accuracy_is_absent_without_logits():
    features, labels, _ = network()
    values = feed(CollapseMetrics(K, DIM), features, labels).compute()
    assert "accuracy" not in values and "nc3_self_duality" not in values and "nc1" in values


def test_tiny_scatter_does_not_cancel():
    """NC1 near 1e-8 with means at a distance of 1000; squares minus squares would give noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1000) % 4
    offsets = 1e-4 * torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    features = 1e3 + torch.eye(4, dtype=torch.float64)[labels] + offsets
    found = feed(FeatureStatistics(4, 4), features, labels, 17).statistics()
    expected = metrics.class_statistics(features - 1e3, labels)
    assert found.covariance.numpy() == pytest.approx(expected.covariance.numpy(), rel=1e-6)
    value = float(metrics.nc1(found.means, found.covariance, found.counts))
    assert value == pytest.approx(
        float(metrics.nc1(expected.means, expected.covariance, expected.counts)), rel=1e-6
    )
    assert 1e-8 < value < 1e-7
    # What the sums of squares of the same batches would have left.
    raw = (features.float() ** 2).mean(0) - features.float().mean(0) ** 2
    assert abs(float(raw[0]) - float(features[:, 0].var())) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_batches(dtype):
    features, labels, head = network()
    low = features.to(dtype)
    metric = CollapseMetrics(K, DIM)
    metric.update(low, labels, head(features).to(dtype))
    assert_equals(metric.statistics(), metrics.class_statistics(low.double(), labels))


def test_weights():
    features, labels, _ = network()
    weights = torch.linspace(0.1, 2.0, len(labels), dtype=torch.float64)
    weights[0] = 0.0  # the only sample of class 0
    metric = FeatureStatistics(K, DIM)
    for part in (slice(0, 30), slice(30, None)):
        metric.update(features[part], labels[part], weights=weights[part])
    found = metric.statistics()
    assert_equals(found, metrics.class_statistics(features, labels, weights=weights))
    assert found.counts[0] == 0 and found.num_samples == pytest.approx(float(weights.sum()))
    # A weight of two counts a sample twice.
    twice = metrics.class_statistics(features.repeat(2, 1), labels.repeat(2))
    double = feed(FeatureStatistics(K, DIM), features, labels).statistics()
    assert twice.covariance.numpy() == pytest.approx(double.covariance.numpy())


def test_merge_reset_forward_and_collection():
    features, labels, head = network()
    whole = metrics.class_statistics(features, labels)
    one = feed(CollapseMetrics(K, DIM), features[:25], labels[:25])
    other = feed(CollapseMetrics(K, DIM), features[25:], labels[25:])
    one.merge_state(other)
    assert_equals(one.statistics(), whole)
    one.merge_state(FeatureStatistics(K, DIM).metric_state)  # a part without samples
    assert_equals(one.statistics(), whole)
    one.reset()
    assert float(one.moments.abs().sum()) == 0.0 == float(one.outcomes.sum())
    # Calling the metric gives the value of the batch and accumulates.
    batch = one(features[:25], labels[:25], head(features[:25]), classifier=head)
    part = metrics.report(
        metrics.class_statistics(features[:25], labels[:25]), head.weight[:K], head.bias
    ).to_dict()
    assert float(batch["nc1"]) == pytest.approx(part["nc1"], rel=1e-9)
    one(features[25:], labels[25:], head(features[25:]), classifier=head)
    assert_equals(one.statistics(), whole)
    assert float(one.compute()["accuracy"]) == pytest.approx(
        float((head(features).argmax(1) == labels).double().mean())
    )
    collection = MetricCollection([CollapseMetrics(K, DIM)], prefix="train/")
    collection.update(features, labels)
    assert float(collection.compute()["train/nc1"]) == pytest.approx(
        float(metrics.nc1(whole.means, whole.covariance, whole.counts))
    )


def test_results_do_not_follow_later_batches():
    features, labels, _ = network()
    metric = feed(FeatureStatistics(K, DIM), features, labels)
    found, values = metric.statistics(), metric.compute()
    before = found.means.clone(), values["counts"].clone()
    metric.update(features + 5.0, labels)
    assert torch.equal(found.means, before[0]) and torch.equal(values["counts"], before[1])


def test_casts_leave_float64_and_devices_move():
    features, labels, _ = network()
    metric = feed(CollapseMetrics(K, DIM), features, labels)
    expected = metric.statistics()
    module = torch.nn.ModuleDict({"metric": metric, "layer": torch.nn.Linear(2, 2)})
    for cast in (
        lambda m: m.half(),
        lambda m: m.to(torch.bfloat16),
        lambda m: m.to("cpu", torch.float16),
        lambda m: m.float(),
    ):
        cast(module)
        assert metric.moments.dtype == torch.float64
        assert_equals(metric.statistics(), expected)
    assert module["layer"].weight.dtype == torch.float32
    moved = metric.clone().to("meta")
    assert moved.moments.device.type == "meta" and moved.moments.dtype == torch.float64
    nearest = NearestMeanAgreement(expected.means).to(torch.float16)
    assert nearest.means.dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device():
    features, labels, head = network()
    expected = metrics.report(
        metrics.class_statistics(features, labels), head.weight, head.bias
    ).to_dict()
    head = head.cuda()
    metric = feed(CollapseMetrics(K, DIM).to("cuda"), features.cuda(), labels.cuda())
    metric.update(features[:0].cuda(), labels[:0].cuda(), classifier=head)
    assert metric.moments.is_cuda
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(expected, rel=1e-9)
    moved = metric.cpu().statistics()
    assert_equals(moved, metrics.class_statistics(features, labels))


def test_pickle_and_copy():
    features, labels, head = network()
    metric = CollapseMetrics(K, DIM)
    metric.update(features, labels, head(features), classifier=head)
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()):
        assert {k: float(v) for k, v in twin.compute().items()} == {
            k: float(v) for k, v in metric.compute().items()
        }
        twin.update(features, labels)
        assert float(twin.statistics().counts.sum()) == 2 * len(labels)
    assert float(metric.statistics().counts.sum()) == len(labels)


def test_merging_keeps_the_classifier_and_warns_of_nothing():
    features, labels, head = network()
    whole = CollapseMetrics(K, DIM)
    whole.update(features, labels, head(features), classifier=head)
    expected = {name: float(value) for name, value in whole.compute().items()}
    assert "nc3_self_duality" in expected
    half = CollapseMetrics(K, DIM)
    half.update(features[:25], labels[:25], head(features[:25]))
    half.compute()  # its result must not be given again
    other = CollapseMetrics(K, DIM)
    other.update(features[25:], labels[25:], head(features[25:]), classifier=head)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half.merge_state(other)
        empty = CollapseMetrics(K, DIM)
        empty.merge_state(half)
        states = FeatureStatistics(K, DIM)
        states.merge_state(half.metric_state)
        states.compute()
        for merged in (half, empty):
            found = {name: float(value) for name, value in merged.compute().items()}
            assert found == pytest.approx(expected, rel=1e-9)
    # A copy of the same classifier is the same; another one is not.
    empty.merge_state(copy.deepcopy(half))
    seen = empty.moments.clone()
    other.update(features[:0], labels[:0], classifier=torch.nn.Linear(DIM, K))
    with pytest.raises(ValueError, match="incoming_state must have the classifier"):
        empty.merge_state(other)
    for stranger in (CollapseMetrics(K, DIM + 1), CollapseMetrics(K, DIM, covariance=False)):
        with pytest.raises(ValueError, match="incoming_state must have"):
            empty.merge_state(stranger)
        with pytest.raises(ValueError, match="incoming_state must hold moments of shape"):
            empty.merge_state(stranger.metric_state)
    assert torch.equal(empty.moments, seen)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("convention", "x", ValueError),
        ("convention", 3, TypeError),
        ("ignore_index", "a", TypeError),
        ("ignore_index", 1.0, TypeError),
        ("covariance", "x", TypeError),
    ],
)
def test_bad_options_are_refused_at_once(name, value, kind):
    with pytest.raises(kind, match=f"{name} must be"):
        CollapseMetrics(4, 6, **{name: value})


def test_no_list_states_and_no_growth():
    features, labels, _ = network()
    metric = CollapseMetrics(K, DIM)
    assert all(isinstance(state, torch.Tensor) for state in metric.metric_state.values())
    before = sum(state.numel() for state in metric.metric_state.values())
    feed(metric, features, labels)
    assert sum(state.numel() for state in metric.metric_state.values()) == before


MANY_CLASSES = """
import resource, sys, torch
from ufm.torch import CollapseMetrics

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
K, DIM = 50_000, 64
labels = torch.randperm(2 * K, generator=generator) % K
head = torch.nn.Linear(DIM, K)
metric = CollapseMetrics(K, DIM, pairs=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for part in labels.split(4096):
    features = torch.randn(part.numel(), DIM, generator=generator) + 3.0
    metric.update(features, part, classifier=head)
values = metric.compute()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print((after - before) * unit / 2**20, float(values["nc1"]))
"""


def test_memory_of_very_many_classes(run_python):
    """50,000 classes in 64 dimensions: K x K doubles would be 20 GB, one feature matrix 25 MB."""
    pytest.importorskip("resource")
    done = run_python(MANY_CLASSES)
    assert done.returncode == 0, done.stderr
    mebibytes, nc1 = map(float, done.stdout.split())
    assert mebibytes < 400
    # Two samples a class: both scatters are I/2 on average.
    assert nc1 == pytest.approx(64 / 50_000, rel=0.02)


def test_ignored_and_empty_batches():
    features, labels, _ = network()
    metric = FeatureStatistics(K, DIM, ignore_index=-100)
    masked = torch.where(labels == 3, -100, labels)
    feed(metric, features, masked)
    metric.update(features[:0], labels[:0])
    assert_equals(
        metric.statistics(), metrics.class_statistics(features[labels != 3], labels[labels != 3], K)
    )


def test_inference_mode():
    features, labels, _ = network()
    metric = FeatureStatistics(K, DIM)
    with torch.inference_mode():
        metric.reset()
        feed(metric, features[:30], labels[:30])
    feed(metric, features[30:], labels[30:])
    assert_equals(metric.statistics(), metrics.class_statistics(features, labels))


def test_nearest_mean_in_a_second_pass():
    features, labels, head = network(6)
    means = metrics.class_statistics(features, labels).means
    metric = NearestMeanAgreement(means)
    for part in (slice(0, 20), slice(20, None)):
        metric.update(features[part], head(features[part]))
    expected = metrics.nc4(features, means, head.weight, head.bias)
    assert float(metric.compute()) == float(expected)
    assert metric.result() == expected
    # A class without samples is nobody's nearest.
    means[2] = float("nan")
    metric = NearestMeanAgreement(means)
    metric.update(features, head(features))
    kept = [k for k in range(K) if k != 2]
    nearest = torch.cdist(features, means[kept]).argmin(1)
    agreed = torch.tensor(kept)[nearest] == head(features).argmax(1)
    assert float(metric.compute()) == pytest.approx(float(agreed.double().mean()))


def test_bad_batches_are_named():
    features, labels, _ = network()
    metric = CollapseMetrics(K, DIM)
    good = metric.moments.clone()
    cases = [
        ((features[:, :3], labels), ValueError, "features"),
        ((features.long(), labels), TypeError, "features"),
        ((features, labels[:3]), ValueError, "labels"),
        ((features, labels.double()), TypeError, "labels"),
        ((features, labels + 1), ValueError, "labels"),
        ((features * float("nan"), labels), ValueError, "features"),
        ((features, labels, features), ValueError, "logits"),
    ]
    for arguments, kind, named in cases:
        with pytest.raises(kind, match=named):
            metric.update(*arguments)
    with pytest.raises(ValueError, match="weights"):
        metric.update(features, labels, weights=-torch.ones(len(labels)))
    with pytest.raises(ValueError, match="classifier"):
        metric.update(features, labels, classifier=torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="classifier"):
        metric.update(features[:0], labels[:0], classifier=torch.nn.ReLU())
    metric.reset()
    assert torch.equal(metric.moments, good)
    for arguments in ((0, 3), (3, -1)):
        with pytest.raises(ValueError, match="must lie between"):
            FeatureStatistics(*arguments)
    with pytest.raises(ValueError, match="at least two classes"):
        NearestMeanAgreement(torch.full((3, 2), float("nan")))


def _process(rank, port, path):
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    features, labels, head = network()
    # Unequal shares; the first process never sees the last classes.
    order = torch.argsort(labels, stable=True)
    mine = order[:20] if rank == 0 else order[20:]
    metric = CollapseMetrics(K, DIM)
    metric.update(features[mine], labels[mine], head(features[mine]), classifier=head)
    values = {name: float(value) for name, value in metric.compute().items()}
    own = float(metric.moments[:K].sum())  # the process's own samples are back after compute
    statistics = metric.statistics()
    nearest = NearestMeanAgreement(statistics.means)
    nearest.update(features[mine], head(features[mine]))
    model = torch.nn.Sequential(torch.nn.Identity(), head)
    data = [(features[mine], labels[mine])]
    shared = collect(model, data, "1", nearest_mean=True, distributed=True)
    alone = collect(model, data, "1", nearest_mean=True)
    assert alone.counts.sum() == alone.nc4.samples == len(mine)
    assert np.array_equal(shared.statistics.covariance, statistics.covariance.numpy())
    assert shared.nc4 == nearest.result()
    assert abs(shared.accuracy - values["accuracy"]) < 1e-12
    result = (values, own, statistics.covariance, nearest.result(), float(nearest.compute()))
    torch.save(result, f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_process, (port, str(tmp_path)), nprocs=2)
    features, labels, head = network()
    alone = CollapseMetrics(K, DIM)
    alone.update(features, labels, head(features), classifier=head)
    expected = {name: float(value) for name, value in alone.compute().items()}
    whole = metrics.class_statistics(features, labels)
    nc4 = metrics.nc4(features, whole.means, head.weight, head.bias)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    for rank, (values, own, covariance, found, share) in enumerate(results):
        assert values == pytest.approx(expected, rel=1e-9)
        assert own == (20 if rank == 0 else len(labels) - 20)
        assert covariance.numpy() == pytest.approx(whole.covariance.numpy())
        assert (float(found), share, found.meaningful) == (float(nc4), float(nc4), True)
    # Both processes have the same numbers to the last bit.
    assert results[0][0] == results[1][0]


def test_compute_before_update_warns():
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        values = FeatureStatistics(K, DIM).compute()
    assert any("before the ``update``" in str(warning.message) for warning in issued)
    assert bool(values["means"].isnan().all())
