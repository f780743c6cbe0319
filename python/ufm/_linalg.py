"""Hands SciPy's LAPACK and BLAS to the compiled core, and limits their threads.

Large products and singular value decompositions run several times faster in SciPy's OpenBLAS than
in the portable build of Eigen. The functions are taken from the capsules that ``scipy.linalg``
exports for Cython, so that only one thread pool exists. Loaded at the first solve that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

from ufm import _core

_lock = Lock()
_attempted = False


def ensure_lapack() -> None:
    """Load SciPy's LAPACK into the core once; without it the core keeps using Eigen."""
    global _attempted
    with _lock:
        if _attempted:
            return
        try:
            from scipy.linalg import cython_blas, cython_lapack

            blas = cython_blas.__pyx_capi__
            lapack = cython_lapack.__pyx_capi__
            _core.set_lapack(blas["dgemm"], blas["dsyrk"], lapack["dpotrf"], lapack["dgesdd"])
        except (ImportError, AttributeError, KeyError, RuntimeError):
            # A SciPy with 64-bit integers or other signatures: Eigen is slower but right.
            pass
        _attempted = True


def backend_name(num_clusters: int) -> str:
    """Name of the linear algebra that a problem with this many clusters uses."""
    if num_clusters >= _core.lapack_crossover and _core.has_lapack():
        return "scipy lapack"
    return "eigen"


class _SharedLimit:
    """A limit on BLAS threads that concurrent solves share.

    The limit is a setting of the whole process. The first solve sets it and the last one restores
    what was there before, so that solves that overlap cannot leave it behind.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._limits: Any = None

    def enter(self, threads: int) -> None:
        with self._lock:
            if self._users == 0:
                from threadpoolctl import threadpool_limits

                self._limits = threadpool_limits(limits=threads, user_api="blas")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limits.restore_original_limits()


_shared_limit = _SharedLimit()


def limited_threads(threads: int | None) -> AbstractContextManager[None]:
    """Limit the BLAS threads inside the block; ``None`` leaves them alone.

    Of blocks that overlap in time, the limit of the first holds for all.
    """
    return _UNLIMITED if threads is None else _limited(threads)


_UNLIMITED = nullcontext()


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    _shared_limit.enter(threads)
    try:
        yield
    finally:
        _shared_limit.leave()
