"""Data sets: readers against files written here, refusals, subsets, preparation."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ufm.torch._run_data import run_data  # noqa: E402
from ufm.torch.config import DataConfig  # noqa: E402
from ufm.torch.data import (  # noqa: E402
    Images,
    Preparation,
    Split,
    imbalanced_subset,
    load_images,
    prepare,
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def _idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _write_mnist(folder, rng, zipped):
    written = {}
    for stem, size in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = (np.arange(size) % 3).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = _idx(array)
            name = f"{stem}-{kind}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        written[stem] = images, labels
    return written


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path, rng, zipped):
    written = _write_mnist(tmp_path, rng, zipped)
    found = load_images("mnist", tmp_path)
    np.testing.assert_array_equal(found.train.images[:, 0], written["train"][0])
    np.testing.assert_array_equal(found.test.labels, written["t10k"][1])
    assert found.train.images.shape == (12, 1, 28, 28)
    assert found.num_classes == 3


def test_truncated_idx_files_are_refused(tmp_path, rng):
    _write_mnist(tmp_path, rng, zipped=False)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "holds 9407"),
        (whole + b"x", "holds 9409"),
        (whole[:9], "inside its header"),
        (b"PK\3\4", "not an IDX file"),
        (whole[:2] + b"\x0d" + whole[3:], "0x0d"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_images("mnist", tmp_path)


def test_truncated_gzip_is_refused(tmp_path, rng):
    _write_mnist(tmp_path, rng, zipped=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a whole gzip"):
        load_images("mnist", tmp_path)


def _write_cifar(folder, rng, per_file=4, protocol=2):
    folder.mkdir(exist_ok=True)
    rows, labels = [], []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = rng.integers(0, 256, (per_file, 3072), dtype=np.uint8)
        classes = [int(c) for c in rng.integers(0, 10, per_file)]
        classes[0] = 9
        record = {b"data": data, b"labels": classes, b"filenames": [b"a.png"] * per_file}
        (folder / name).write_bytes(pickle.dumps(record, protocol=protocol))
        rows.append(data)
        labels.append(classes)
    names = [f"class{k}" for k in range(10)]
    meta = {"label_names": names, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return rows, labels


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_folder(tmp_path, rng, protocol):
    rows, labels = _write_cifar(tmp_path / "cifar-10-batches-py", rng, protocol=protocol)
    found = load_images("cifar10", tmp_path / "cifar-10-batches-py")
    assert found.classes[9] == "class9"
    expected = np.concatenate(rows[:5]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(found.train.images, expected)
    np.testing.assert_array_equal(found.train.labels, np.concatenate(labels[:5]))
    np.testing.assert_array_equal(found.test.labels, labels[5])
    # Row-major planes: red, then green, then blue.
    assert found.test.images[0, 2, 0, 1] == rows[5][0, 2 * 1024 + 1]


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused(tmp_path, rng):
    folder = tmp_path / "cifar"
    _write_cifar(folder, rng)
    trap = tmp_path / "trap"
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": _Evil(trap)}))
    with pytest.raises(ValueError, match=r"refuses to build (posix|nt)\.mkdir"):
        load_images("cifar10", folder)
    assert not trap.exists()


def test_a_pickle_of_objects_in_arrays_is_refused(tmp_path, rng):
    folder = tmp_path / "cifar"
    _write_cifar(folder, rng)
    objects = np.array([1, "a"], dtype=object)
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": objects, "labels": [1]}))
    with pytest.raises(ValueError, match="Python objects"):
        load_images("cifar10", folder)


@pytest.mark.parametrize("change", ["truncated", "short row", "few labels", "list"])
def test_damaged_cifar_files_are_refused(tmp_path, rng, change):
    folder = tmp_path / "cifar"
    _write_cifar(folder, rng)
    path = folder / "data_batch_2"
    record = pickle.loads(path.read_bytes())
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif change == "short row":
        path.write_bytes(pickle.dumps({**record, b"data": record[b"data"][:, :-1]}))
    elif change == "few labels":
        path.write_bytes(pickle.dumps({**record, b"labels": [1]}))
    else:
        path.write_bytes(pickle.dumps([record]))
    with pytest.raises(ValueError, match="data_batch_2"):
        load_images("cifar10", folder)


def _picture(pixels):
    image = pytest.importorskip("PIL.Image")
    content = io.BytesIO()
    image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def _write_tree(folder, rng):
    """Two classes; 3 training images and 1 test image each, as file name -> pixels."""
    written = {}
    for split, size in (("train", 3), ("test", 1)):
        for label in ("cat", "ant"):
            for i in range(size):
                pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
                path = folder / split / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_picture(pixels))
                written[split, label, i] = pixels
    return written


def _assert_tree(found, written):
    assert found.classes == ("ant", "cat")
    np.testing.assert_array_equal(found.train.labels, [0, 0, 0, 1, 1, 1])
    expected = written["train", "cat", 1].transpose(2, 0, 1)
    np.testing.assert_array_equal(found.train.images[4], expected)
    np.testing.assert_array_equal(
        found.test.images[0], written["test", "ant", 0].transpose(2, 0, 1)
    )


def test_tree_of_images(tmp_path, rng):
    written = _write_tree(tmp_path / "tree", rng)
    (tmp_path / "tree" / "notes.txt").write_text("not an image")
    _assert_tree(load_images("mine", tmp_path / "tree"), written)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_tar_of_images(tmp_path, rng, suffix):
    written = _write_tree(tmp_path / "tree", rng)
    path = tmp_path / f"images.{suffix}"
    with tarfile.open(path, "w:" + suffix.removeprefix("tar").lstrip(".")) as archive:
        archive.add(tmp_path / "tree", "anything")
    _assert_tree(load_images("mine", path), written)


def test_a_truncated_tar_is_refused(tmp_path, rng):
    _write_tree(tmp_path / "tree", rng)
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "tree", "tree")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_images("mine", path)


def test_damaged_and_unequal_images_are_refused(tmp_path, rng):
    _write_tree(tmp_path / "tree", rng)
    path = tmp_path / "tree" / "train" / "cat" / "1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    with pytest.raises(ValueError, match=r"cat/1\.png is not a whole image"):
        load_images("mine", tmp_path / "tree")
    path.write_bytes(_picture(np.zeros((4, 5, 3), np.uint8)))
    with pytest.raises(ValueError, match="different sizes"):
        load_images("mine", tmp_path / "tree")


def test_missing_data_names_the_places(tmp_path, monkeypatch):
    monkeypatch.setenv("UFM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-py"):
        load_images("cifar10")
    with pytest.raises(ValueError, match="one of digits, cifar10"):
        load_images("imagenet")
    with pytest.raises(FileNotFoundError):
        load_images("cifar10", tmp_path / "nowhere")


def test_images_are_read_again_when_a_file_changes(tmp_path, rng):
    """Unchanged ones are shared, and therefore read-only."""
    _write_mnist(tmp_path, rng, False)
    first = load_images("mnist", tmp_path)
    assert load_images("mnist", tmp_path) is first
    for split in (first.train, first.test):
        assert not split.images.flags.writeable and not split.labels.flags.writeable
    given = DataConfig("mnist", str(tmp_path), counts="2x3")
    before = run_data(given, torch.device("cpu"))[1]
    assert run_data(given, torch.device("cpu"))[1] is before
    written = _write_mnist(tmp_path, rng, False)  # of the same sizes
    for file in tmp_path.iterdir():
        os.utime(file, ns=(1, 1))  # a clock may be coarser than this test is fast
    again = load_images("mnist", tmp_path)
    np.testing.assert_array_equal(again.train.images[:, 0], written["train"][0])
    assert not torch.equal(
        run_data(given, torch.device("cpu"))[1].train_inputs, before.train_inputs
    )


def test_digits_are_the_default():
    pytest.importorskip("sklearn")
    found = load_images()
    assert found.num_classes == 10
    assert len(found.train) + len(found.test) == 1797
    assert found.train.images.shape[1:] == (1, 8, 8)
    assert found.train.images.max() == 255


def _images(rng, train=(40, 40, 40), test=(10, 10, 10)):
    def split(sizes):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        pixels = rng.integers(0, 256, (len(labels), 3, 4, 4), dtype=np.uint8)
        return Split(pixels, labels)

    return Images("random", split(train), split(test), ("a", "b", "c"))


def test_subset_has_the_counts_and_is_topped_up_from_the_test_split(rng):
    images = _images(rng)
    subset = imbalanced_subset(images, [45, 20, 3], seed=1)
    np.testing.assert_array_equal(np.bincount(subset.train.labels), [45, 20, 3])
    np.testing.assert_array_equal(subset.topped_up, [5, 0, 0])
    np.testing.assert_array_equal(np.bincount(subset.test.labels), [5, 10, 10])
    pool = {p.tobytes() for p in images.train.images[images.train.labels == 0]}
    pool |= {p.tobytes() for p in images.test.images[images.test.labels == 0]}
    chosen = {p.tobytes() for p in subset.train.images[subset.train.labels == 0]}
    left = {p.tobytes() for p in subset.test.images[subset.test.labels == 0]}
    assert chosen <= pool and not chosen & left and chosen | left == pool


def test_subset_follows_the_seed_and_grows_with_the_counts(rng):
    images = _images(rng)
    first, again = (imbalanced_subset(images, [20, 10, 5], seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.train.images, again.train.images)
    other = imbalanced_subset(images, [20, 10, 5], seed=4)
    assert not np.array_equal(first.train.images, other.train.images)
    larger = imbalanced_subset(images, [20, 30, 5], seed=3)
    np.testing.assert_array_equal(larger.train.images[20:30], first.train.images[20:30])


@pytest.mark.parametrize(
    ("counts", "message"),
    [([51, 1, 1], "asks for 51"), ([1.5, 1, 1], "integers"), ([1] * 4, "names 4 classes")],
)
def test_impossible_subsets_are_refused(rng, counts, message):
    with pytest.raises(ValueError, match=message):
        imbalanced_subset(_images(rng), counts)


def test_a_negative_seed_is_named(rng):
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        imbalanced_subset(_images(rng), [2, 2, 2], seed=-1)


def test_prepared_channels_have_mean_zero_and_deviation_one(rng):
    subset = imbalanced_subset(_images(rng), [20, 10, 5])
    inputs = prepare(subset).train_inputs.double()
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6)
    assert torch.allclose(inputs.std((0, 2, 3), unbiased=False), torch.ones(3).double(), atol=1e-5)


def test_cifar_has_the_published_constants(rng):
    subset = imbalanced_subset(_images(rng), [20, 10, 5])
    inputs = prepare(subset, name="cifar10").train_inputs
    pixel = subset.train.images[7, 1, 2, 3] / 255
    assert inputs[7, 1, 2, 3].item() == pytest.approx((pixel - 0.4822) / 0.243, rel=1e-5)


@pytest.mark.parametrize("counts", [[20, 15, 15], [40, 40, 30]])
def test_whitened_inputs_are_uncorrelated(rng, counts):
    """Fewer and more images than half the pixels: both ways to the components."""
    subset = imbalanced_subset(_images(rng), counts)
    data = prepare(subset, Preparation(whiten=12))
    inputs = data.train_inputs.double()
    assert data.input_shape == (12,)
    covariance = inputs.T @ inputs / len(inputs)
    assert torch.allclose(covariance, torch.eye(12).double(), atol=1e-5)
    assert data.test_inputs.shape == (len(subset.test), 12)


def test_too_much_whitening_is_refused(rng):
    subset = imbalanced_subset(_images(rng), [5, 5, 5])
    with pytest.raises(ValueError, match="at most 14"):
        prepare(subset, Preparation(whiten=15))


def test_resizing_and_pooling(rng):
    subset = imbalanced_subset(_images(rng), [5, 5, 5])
    assert prepare(subset, Preparation(resize=32)).input_shape == (3, 32, 32)
    pooled = prepare(subset, Preparation(pool=2)).train_inputs
    plain = prepare(subset).train_inputs
    assert pooled[3, 1, 0, 1].item() == pytest.approx(plain[3, 1, :2, 2:].mean().item(), abs=1e-6)
    with pytest.raises(ValueError, match="pool must be a positive integer"):
        Preparation(pool=0)


def test_the_archive_at_hand(monkeypatch):
    """A few facts of the shared CIFAR-10 archive."""
    from conftest import data_directory

    path = data_directory() / "cifar10.tar.xz"
    if not path.is_file():
        pytest.skip(f"{path.name} not found; set UFM_DATA to the data directory")
    pytest.importorskip("PIL")
    from ufm.torch.data.tree import _members

    split, label, name, content = next(_members(path))
    assert (split, label, name) == ("test", "airplane", "0000.jpg")
    assert content[:2] == b"\xff\xd8"
