"""Files that appear whole or not at all, and reading files that come from elsewhere."""

from __future__ import annotations

import csv
import json
import os
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_FAULTS = (
    OSError,
    EOFError,
    ValueError,  # and its many kinds: of encodings, JSON and TOML
    KeyError,
    TypeError,
    RecursionError,  # nested without end
    MemoryError,  # a header that claims more than there is
    NotImplementedError,  # of an archive
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` at the end of the block, if nothing is raised.

    It is written under a temporary name in the same folder, brought to the disk, then renamed.
    Whenever the process or the machine stops, `path` holds its old content or the whole new one.

    Parameters
    ----------
    path : path-like
        The file to be; a symbolic link is followed.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is as it was.
    """
    # A link is the user's: its target is replaced.
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        # A device or pipe, such as /dev/stdout, cannot be replaced and need not be.
        with path.open("wb") as file:
            yield file
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # not the temporary name, which nobody knows
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        # Without a number the text is in the arguments, and a name would hide it.
        if isinstance(error, OSError) and error.errno and error.filename in (None, name):
            error.filename, error.filename2 = str(path), None
        raise
    sync(path.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def _mode(path: Path) -> int:
    """Permissions of the file that is replaced, else those of a new one."""
    with suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return 0o666 & ~mask


def sync(path: Path) -> None:
    """Bring a file, or what was renamed in a folder, to the disk, where the system allows it."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---------------------------------------------------------------------- reading


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a damaged or foreign file raises into one error that names it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as what it should be.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _FAULTS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read: {reason:.200}") from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in an ``.npz`` file, none of which may hold Python objects."""
    with reading(path), path.open("rb") as raw:
        # Opened here, since numpy leaves a damaged file open. For what is no archive, and for
        # Python objects, numpy would advise to load pickles.
        magic = raw.read(6)
        raw.seek(0)
        if magic == b"\x93NUMPY":
            raise ValueError("it holds a single array, not an archive of several")
        if magic[:2] != b"PK":
            raise ValueError("it is no .npz archive of arrays")
        with np.load(raw, allow_pickle=False) as stored:
            return {name: _array(stored, name) for name in stored.files}


def _array(stored: Any, name: str) -> NDArray[Any]:
    """One array of an archive."""
    try:
        found = stored[name]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise ValueError(f"'{name}' in it holds Python objects, not numbers") from None
    if not isinstance(found, np.ndarray):
        raise ValueError(f"'{name}' in it is no array")
    return found


def read_json_table(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"an object is expected, not {found!r:.40}")
        return found


def read_toml(path: Path) -> dict[str, Any]:
    """The tables in a TOML file."""
    with reading(path), path.open("rb") as file:
        return tomllib.load(file)
