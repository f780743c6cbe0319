"""IDX files (MNIST and its relatives), plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ufm._memory import free_memory
from ufm.torch.data.images import Images, Split

_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTE = 0x08
_HEADER = 4 + 4 * 255  # the longest there is
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def has_idx(folder: Path) -> bool:
    """Whether the folder holds the training images of MNIST or a relative."""
    return _locate(folder, _STEMS["train"][0]) is not None


def read_idx_folder(folder: Path, name: str) -> Images:
    """Read the four files of MNIST or a relative."""
    train = _read_split(folder, "train")
    test = _read_split(folder, "test")
    num_classes = int(max(train.labels.max(initial=0), test.labels.max(initial=0))) + 1
    plain = tuple(map(str, range(num_classes)))
    classes = _FASHION if name == "fashion-mnist" and num_classes == len(_FASHION) else plain
    return Images(name, train, test, classes)


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    Parameters
    ----------
    path : pathlib.Path
        The file; gzipped if its name ends in ``.gz``.

    Returns
    -------
    ndarray, uint8
        With the shape that the file states.

    Raises
    ------
    ValueError
        If the file is no IDX file of unsigned bytes, or shorter or longer than it states.
    """
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as file:
                # Never more than the header states, however much the archive unfolds to.
                content = file.read(_HEADER)
                stated = _stated_size(content)
                if stated > free_memory():
                    raise ValueError(f"{path} states {stated:,} bytes, more than is free")
                content += file.read(stated + 1 - len(content))
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}") from None
    else:
        content = path.read_bytes()
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{path} is not an IDX file")
    kind, rank = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"{path} holds IDX type 0x{kind:02x}; unsigned bytes (0x08) expected")
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(f"{path} ends inside its header")
    shape = struct.unpack(f">{rank}I", content[4:start])
    stated, held = math.prod(shape), len(content) - start
    if held != stated:
        raise ValueError(f"{path} states {stated} bytes of shape {shape} but holds {held}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _stated_size(header: bytes) -> int:
    """Bytes that a file has by its own account, no less than its header."""
    rank = header[3] if len(header) > 3 else 0
    start = 4 + 4 * rank
    if len(header) < start:
        return len(header)
    return max(start + math.prod(struct.unpack(f">{rank}I", header[4:start])), len(header))


def _read_split(folder: Path, split: str) -> Split:
    arrays = []
    for stem in _STEMS[split]:
        path = _locate(folder, stem)
        if path is None:
            raise FileNotFoundError(2, "missing IDX file", str(folder / stem))
        arrays.append(read_idx(path))
    images, labels = arrays
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{folder}: {split} images of shape {images.shape} beside labels of shape "
            f"{labels.shape}; (N, H, W) and (N,) expected"
        )
    return Split(images[:, None], labels.astype(np.int64))


def _locate(folder: Path, stem: str) -> Path | None:
    # Some mirrors write a dot before idx.
    for name in (stem, stem.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
