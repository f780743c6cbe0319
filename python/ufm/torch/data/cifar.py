"""CIFAR-10 and CIFAR-100 as torchvision unpacks them: pickles, read without trusting them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ufm.torch.data.images import Images, Split

_SIDE = 32
_LAYOUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, str]] = {
    # marker: training files, test files, key of the labels, (file and) key of the names
    "batches.meta": (
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "labels",
        "label_names",
    ),
    "meta": (("train",), ("test",), "fine_labels", "fine_label_names"),
}


class _ArraysOnly(pickle.Unpickler):
    """Builds plain containers, numbers and numpy arrays; refuses everything else."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): None,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) in self._ALLOWED:
            return self._ALLOWED[module, name]
        # numpy.core was renamed numpy._core; files hold either.
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _empty_array
        raise ValueError(f"refuses to build {module}.{name}")


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 writes for bytes."""
    if encoding != "latin1":
        raise ValueError(f"refuses text encoded as {encoding!r}")
    return text.encode("latin1")


def _empty_array(kind: type, shape: Any, code: Any) -> np.ndarray:
    """A new array, to be filled by the pickle; never one of Python objects."""
    if kind is not np.ndarray:
        raise ValueError("refuses a subclass of numpy.ndarray")
    return _Array(shape, dtype=code)


class _Array(np.ndarray):
    """An array whose state may not hold Python objects."""

    def __setstate__(self, state: Any) -> None:
        dtype = state[2]
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise ValueError("refuses an array of Python objects")
        super().__setstate__(state)


def has_cifar(folder: Path) -> bool:
    """Whether the folder is ``cifar-10-batches-py`` or ``cifar-100-python``."""
    return any(
        (folder / marker).is_file() or (folder / layout[0][0]).is_file()
        for marker, layout in _LAYOUTS.items()
    )


def read_cifar(folder: Path, name: str) -> Images:
    """Read a CIFAR folder; classes are named where the folder names them."""
    marker = "batches.meta" if (folder / "data_batch_1").is_file() else "meta"
    train_files, test_files, label_key, name_key = _LAYOUTS[marker]
    train = _read_split(folder, train_files, label_key)
    test = _read_split(folder, test_files, label_key)
    classes = _class_names(folder / marker, name_key, int(train.labels.max()) + 1)
    return Images(name, train, test, classes)


def _class_names(path: Path, key: str, num_classes: int) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(map(str, range(num_classes)))
    names = _load(path).get(key)
    if not isinstance(names, list) or len(names) < num_classes:
        raise ValueError(f"{path} does not name its classes under '{key}'")
    return tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)


def _read_split(folder: Path, files: tuple[str, ...], label_key: str) -> Split:
    images, labels = [], []
    for file in files:
        path = folder / file
        record = _load(path)
        pixels, classes = record.get("data"), record.get(label_key)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
            raise ValueError(f"{path} holds no uint8 matrix under 'data'")
        if pixels.shape[1] != 3 * _SIDE * _SIDE:
            raise ValueError(f"{path}: rows of 3 x 32 x 32 pixels expected, got {pixels.shape[1]}")
        if not isinstance(classes, list) or len(classes) != len(pixels):
            raise ValueError(f"{path} does not hold one label for each image under '{label_key}'")
        images.append(np.asarray(pixels).reshape(-1, 3, _SIDE, _SIDE))
        labels.append(np.asarray(classes, dtype=np.int64))
    return Split(np.concatenate(images), np.concatenate(labels))


def _load(path: Path) -> dict[str, Any]:
    """The dict in a pickle, with its keys as text."""
    content = path.read_bytes()
    try:
        record = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a CIFAR file, or damaged: {reason:.200}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds a {type(record).__name__}, not a dict")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in record.items()}
