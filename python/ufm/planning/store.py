"""Where a sweep is kept: finished chunks while it runs, one netCDF or zarr dataset at the end.

While a sweep into ``out.nc`` runs, the folder ``out.nc.partial`` holds its parameters and a file
per finished chunk. Every file is written under a temporary name and renamed, so that whatever
ends the process, a file that is there is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ufm._files import replacing, sync, write_text
from ufm.planning.chunk import Arrays

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".nc", ".zarr")
IDENTITY = "ufm_sweep"
_MANIFEST = "sweep.json"
_MODULES = {".nc": "netCDF4", ".zarr": "zarr"}


class Store:
    """A sweep on disk.

    Parameters
    ----------
    path : str or path-like
        The dataset to be; its suffix ``.nc`` or ``.zarr`` chooses the format.
    identity : dict
        What the sweep was asked for, by argument. A store with another identity is refused.

    Raises
    ------
    ValueError
        If the suffix is another one, the folder does not exist, or the store holds another sweep.
    ImportError
        If the library for this format is missing.
    """

    def __init__(self, path: str | os.PathLike[str], identity: dict[str, str]) -> None:
        self.path = check_store(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._identity = identity
        self._lock: IO[str] | None = None
        self._ranges: list[tuple[int, int]] = []

    # ------------------------------------------------------------------ the whole

    def load(self) -> xr.Dataset | None:
        """The finished dataset, in memory; None where there is none yet."""
        if not os.path.lexists(self.path):
            return None
        import xarray as xr

        _refuse_pickles(self.path)
        try:
            with xr.open_dataset(self.path, engine=_engine(self.path)) as file:
                found = json.loads(file.attrs.get(IDENTITY, "null"))
                if found is not None:
                    self._refuse_other(found, self.path)
                    return file.load()
        except _Refused as refused:
            raise ValueError(str(refused)) from None
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            AttributeError,
            MemoryError,
            NotImplementedError,
        ) as error:
            raise ValueError(
                f"store: '{self.path}' cannot be read as a dataset ({error!s:.200}); "
                "move it away to compute the sweep again"
            ) from error
        raise ValueError(f"store: '{self.path}' exists and holds no sweep; choose another path")

    def finish(self, dataset: xr.Dataset) -> None:
        """Write the dataset, which appears whole or not at all, and drop the chunks."""
        temporary = self.partial / f"finished{self.path.suffix}"
        _remove(temporary)
        encoding: dict[Any, Any] = {
            name: {"_FillValue": None} for name in dataset.variables if name not in dataset.dims
        }
        if self.path.suffix == ".nc":
            for name in encoding:
                if dataset[name].size > 1000 and dataset[name].dtype.kind in "fiu":
                    encoding[name] |= {"zlib": True, "complevel": 1, "shuffle": True}
            dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
            sync(temporary)
        else:
            # Format 2 with consolidated metadata is what every reader of zarr understands.
            dataset.to_zarr(temporary, zarr_format=2, consolidated=True, encoding=encoding)
        os.replace(temporary, self.path)
        self.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    # ------------------------------------------------------------------ chunks

    def open(self, size: int, chunk_size: int) -> list[tuple[int, int]]:
        """Begin, or go on where another run ended; the problems of each chunk as (start, stop).

        A store that was begun before keeps the chunks that it was begun with.
        """
        self.partial.mkdir(exist_ok=True)
        self._acquire()
        manifest = self.partial / _MANIFEST
        if manifest.exists():
            try:
                record = json.loads(manifest.read_text(encoding="utf-8"))
                found, chunk_size = record["identity"], int(record["chunk_size"])
            except (ArithmeticError, KeyError, OSError, RecursionError, TypeError, ValueError) as e:
                raise ValueError(
                    f"store: '{manifest}' cannot be read ({e}); "
                    f"remove '{self.partial}' to start again"
                ) from None
            try:
                self._refuse_other(found, self.partial)
            except _Refused as refused:
                raise ValueError(str(refused)) from None
        else:
            text = json.dumps({"identity": self._identity, "chunk_size": chunk_size}, indent=1)
            write_text(manifest, text)
        self._ranges = ranges(size, chunk_size)
        return self._ranges

    def read_chunk(self, index: int) -> Arrays | None:
        """A finished chunk; None where it is missing, or damaged (with a warning)."""
        path = self._chunk_path(index)
        start, stop = self._ranges[index]
        try:
            # Opened here, since numpy leaves a damaged file open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if arrays.pop("range").tolist() != [start, stop]:
                raise ValueError("it holds other problems")
            if any(array.shape[:1] != (stop - start,) for array in arrays.values()):
                raise ValueError("an array has a wrong length")
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged archive can raise nearly anything
            reason = str(error) or type(error).__name__
            warnings.warn(
                f"store: '{path}' is damaged ({reason:.200}); its problems are solved again",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return arrays

    def write_chunk(self, index: int, arrays: Arrays) -> None:
        """Keep a finished chunk."""
        content: Any = {"range": np.array(self._ranges[index]), **arrays}
        with replacing(self._chunk_path(index)) as file:
            np.savez(file, **content)

    # ------------------------------------------------------------------ private

    def _chunk_path(self, index: int) -> Path:
        return self.partial / f"chunk-{index:06d}.npz"

    def _refuse_other(self, found: Any, where: Path) -> None:
        if not isinstance(found, dict):
            raise _Refused(f"store: '{where}' holds no sweep; choose another path")
        names = [name for name in {**self._identity, **found} if name not in _same(self, found)]
        if names:
            told = "; ".join(
                f"{name}: {found.get(name, 'none')} there, {self._identity.get(name, 'none')} here"
                for name in names
            )
            raise _Refused(
                f"store: '{where}' holds another sweep ({told}); choose another path or remove it"
            )

    def _acquire(self) -> None:
        """Keep other processes out; the system lets go of the lock when this one ends."""
        try:
            import fcntl
        except ImportError:  # not on this system
            return
        lock = (self.partial / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ValueError(f"store: another process is writing '{self.path}'") from None
        except OSError:  # a file system without locks
            lock.close()
            return
        self._lock = lock

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Refused(Exception):
    """Told apart from errors in reading."""


def _refuse_pickles(path: Path) -> None:
    """Refuse a zarr store whose arrays are pickled, since to read one is to run what it holds."""
    if not path.is_dir():
        return
    names = {".zarray", ".zmetadata", "zarr.json"}
    for file in sorted(found for found in path.rglob("*") if found.name in names):
        try:
            text = json.dumps(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"store: '{file}' cannot be read ({error!s:.200})") from None
        if '"pickle"' in text or "numcodecs.pickle" in text:
            raise ValueError(f"store: '{file}' describes an array of Python objects; refused")


def _same(store: Store, found: dict[str, Any]) -> set[str]:
    return {name for name, value in store._identity.items() if found.get(name) == value}


def _engine(path: Path) -> Any:
    return "netcdf4" if path.suffix == ".nc" else "zarr"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def ranges(size: int, chunk_size: int) -> list[tuple[int, int]]:
    """Consecutive (start, stop) that cover ``size`` problems."""
    return [(start, min(start + chunk_size, size)) for start in range(0, size, chunk_size)]


def require_xarray() -> None:
    """Raise an ImportError that names the extra when xarray is missing."""
    _require("xarray", "sweeps")


def check_store(path: str | os.PathLike[str]) -> Path:
    """The path of a store, refused early where writing must fail."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"store: the name of '{path}' must end in .nc or .zarr")
    if not path.parent.is_dir():
        raise ValueError(f"store: the folder '{path.parent}' does not exist")
    _require(_MODULES[path.suffix], f"a {path.suffix} store")
    return path


def _require(module: str, what: str) -> None:
    if find_spec(module) is None:
        name = "needs" if what.startswith("a ") else "need"
        raise ImportError(f'{what} {name} {module}: pip install "ufm[sweep]"')
