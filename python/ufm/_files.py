"""Files that appear whole or not at all, and reading files that come from elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


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
        if isinstance(error, OSError) and error.filename in (None, name):
            error.filename, error.filename2 = str(path), None
        raise
    _sync_folder(path.parent)


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


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
