"""Finding a data set by name or path: :func:`load_images`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from ufm.torch.data.cifar import has_cifar, read_cifar
from ufm.torch.data.idx import has_idx, read_idx_folder
from ufm.torch.data.images import Images, Split
from ufm.torch.data.tree import is_tar, read_tar, read_tree

# Where in a data directory each data set may lie, in order of preference.
_PLACES = {
    "cifar10": ("cifar-10-batches-py", "cifar10", "cifar10.tar.xz", "cifar10.tar"),
    "cifar100": ("cifar-100-python", "cifar100", "cifar100.tar.xz", "cifar100.tar"),
    "mnist": ("MNIST/raw", "mnist"),
    "fashion-mnist": ("FashionMNIST/raw", "fashion-mnist"),
}
SOURCES = ("digits", *_PLACES)


# Name, size and time of change of every file that is read.
Stamp = tuple[tuple[str, int, int], ...]


def load_images(source: str = "digits", path: str | os.PathLike[str] | None = None) -> Images:
    """Read a data set into memory.

    Parameters
    ----------
    source : str
        ``"digits"`` (scikit-learn's, built in), ``"cifar10"``, ``"cifar100"``, ``"mnist"``,
        ``"fashion-mnist"``, or any name for the images under `path`.
    path : path, optional
        The data set itself: torchvision's ``cifar-10-batches-py`` or ``cifar-100-python``, a
        folder with IDX files (``.gz`` too), a tree ``train/<class>/<image>``,
        ``test/<class>/<image>`` of image files, or a tar of one (``.xz``, ``.gz`` too). Without
        it the data set is looked for by its usual names in the directory that the environment
        variable ``UFM_DATA`` names, else in ``./data`` and in ``../shared/data``.

    Returns
    -------
    Images
        With read-only arrays, since the last two data sets read are kept for later calls; they are
        read again where a file's size or time of change is another.

    Raises
    ------
    FileNotFoundError
        If the data set is nowhere; the message lists where it was looked for.
    ValueError
        If a file is damaged or not what its name says.
    ImportError
        If scikit-learn (digits) or Pillow (image files) is needed and missing.

    Notes
    -----
    CIFAR's files are pickles. They are read by an unpickler that builds nothing but numbers,
    strings, lists, dicts and numpy arrays, so that a file from a stranger cannot run code.
    """
    return _kept(source, *located(source, path))


def located(source: str, path: str | os.PathLike[str] | None) -> tuple[Path | None, Stamp]:
    """Where `load_images` reads, None for what is built in, and the stamp of what lies there."""
    if not source:
        raise ValueError("source must be the name of a data set, got an empty string")
    if source == "digits" and path is None:
        return None, ()
    found = Path(os.path.abspath(path if path is not None else _find(source)))
    files = [found] if found.is_file() else sorted(found.rglob("*"))
    states = [(str(file), file.stat()) for file in files if file.is_file()]
    return found, tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


@lru_cache(maxsize=2)
def _kept(source: str, path: Path | None, stamp: Stamp) -> Images:
    """The images at `path`; what changed on the disk since has another `stamp`."""
    found = _digits() if path is None else _read(source, path)
    for split in (found.train, found.test):
        split.images.setflags(write=False)
        split.labels.setflags(write=False)
    return found


def _read(source: str, path: Path) -> Images:
    if not path.exists():
        raise FileNotFoundError(2, "no such data set", str(path))
    if path.is_file():
        if is_tar(path):
            return read_tar(path, source)
        raise ValueError(f"{path} is neither a folder nor a tar archive")
    if has_cifar(path):
        return read_cifar(path, source)
    if has_idx(path):
        return read_idx_folder(path, source)
    return read_tree(path, source)


def _find(source: str) -> Path:
    if source not in _PLACES:
        raise ValueError(
            f"source must be one of {', '.join(SOURCES)}, or come with a path, got {source!r}"
        )
    configured = os.environ.get("UFM_DATA")
    roots = [Path(configured)] if configured else [Path("data"), Path("..") / "shared" / "data"]
    tried = [root / place for root in roots for place in _PLACES[source]]
    for candidate in tried:
        if candidate.exists():
            return candidate
    raise FileNotFoundError(
        f"{source} not found; name its path, or set UFM_DATA to the directory that holds it. "
        f"Looked for {', '.join(map(str, tried))}"
    )


def _digits() -> Images:
    """1797 handwritten digits of 8 x 8 pixels; every fifth is a test image."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'the digits come with scikit-learn, which is not installed: pip install "ufm[torch]"'
        ) from error
    found = load_digits()
    # Grey levels 0 to 16.
    pixels = np.rint(found.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    labels = found.target.astype(np.int64)
    is_test = np.arange(len(labels)) % 5 == 4
    return Images(
        "digits",
        Split(pixels[~is_test], labels[~is_test]),
        Split(pixels[is_test], labels[is_test]),
        tuple("0123456789"),
    )
