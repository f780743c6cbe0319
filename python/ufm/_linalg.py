"""Hands SciPy's LAPACK and BLAS to the compiled core, and limits their threads.

Large products and singular value decompositions run several times faster in SciPy's OpenBLAS than
in the portable build of Eigen. The functions are taken from the capsules that ``scipy.linalg``
exports for Cython, so that only one thread pool exists. Loaded at the first solve that needs it.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import Counter
from functools import cache
from itertools import product
from threading import Condition, Lock, get_ident
from typing import Any

from ufm import _core
from ufm._memory import explained_memory

# A solve waits this long at most for solves with another number of threads to end.
_LONGEST_WAIT = 60.0

_BUFFERS = "the linear algebra library needs a buffer of some 32 MiB for each thread"

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
            with explained_memory(_BUFFERS):
                _core.set_lapack(blas["dgemm"], blas["dsyrk"], lapack["dpotrf"], lapack["dgesdd"])
            # A decomposition that Ctrl-C left behind must not outlive the library it runs in.
            atexit.register(_core.finish_abandoned)
        except (ImportError, AttributeError, KeyError, RuntimeError):
            # A SciPy with 64-bit integers or other signatures: Eigen is slower but right.
            pass
        _attempted = True


def backend_name(num_clusters: int) -> str:
    """Name of the linear algebra that a problem with this many clusters uses."""
    if num_clusters >= _core.lapack_crossover and _core.has_lapack():
        return "scipy lapack"
    return "eigen"


@cache
def _blas_pools() -> list[Any]:
    """Return the thread pools of the BLAS libraries, which takes a third of a millisecond to find.

    To be asked once :func:`ensure_lapack` has loaded SciPy's. Libraries built without threads,
    such as the one that SCS brings, always say 1 and cannot be set.
    """
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController().select(user_api="blas").lib_controllers
    return [pool for pool in pools if getattr(pool, "threading_layer", "") != "disabled"]


class _SharedThreads:
    """The number of BLAS threads, which is a setting of the whole process.

    Sums change in their last bits with the number of threads. So solves that overlap share a
    number: one that needs another waits until those under way have ended, in order of arrival.
    The first to come changes the setting if it must, the last to go restores it. A solve inside
    another one's callback goes by the outer number, since waiting would never end. After
    `_LONGEST_WAIT` a solve goes ahead with the number that is set, lest callbacks that wait for
    each other's solves hang.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._holders: Counter[int] = Counter()  # by thread
        self._queue: list[object] = []
        self._number = 0  # of the holders
        self._original = 0
        self._changes: list[tuple[Any, int]] = []  # libraries, and what they were set to

    def enter(self, block: limited_threads) -> None:
        """Take part with the threads of a block, or with as many as are set."""
        with self._changed:
            if block.owner not in self._holders:
                self._wait_for_turn(block)
            if not self._holders:
                pools = _blas_pools()
                before = [(pool, pool.get_num_threads() or 1) for pool in pools]
                self._original = max((number for _, number in before), default=1)
                self._number = block.threads or self._original
                if block.threads is not None:  # None leaves every library as it is
                    self._changes = [change for change in before if change[1] != self._number]
                    for pool, _ in self._changes:
                        _set_threads(pool, self._number)
                _core.expect_blas_threads(self._number)
            self._holders[block.owner] += 1
            block.held = True

    def leave(self, block: limited_threads) -> None:
        """End what `enter` began."""
        with self._changed:
            block.held = False
            if block.owner not in self._holders:
                return  # a forked child has forgotten it
            self._holders[block.owner] -= 1
            if not self._holders[block.owner]:
                del self._holders[block.owner]
            if not self._holders:
                self._restore()
                self._changed.notify_all()

    def forget_other_threads(self) -> None:
        """In a forked child, where only this thread lives on."""
        mine = self._holders[get_ident()]
        self._changed = Condition()
        self._queue = []
        self._holders = Counter({get_ident(): mine} if mine else {})
        if not mine:
            self._restore()

    def _wait_for_turn(self, block: limited_threads) -> None:
        turn = object()
        self._queue.append(turn)
        until = time.monotonic() + block.patience
        try:
            while self._queue[0] is not turn or not self._suits(block.threads):
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        finally:
            self._queue.remove(turn)
            self._changed.notify_all()

    def _suits(self, threads: int | None) -> bool:
        return not self._holders or (threads or self._original) == self._number

    def _restore(self) -> None:
        for pool, number in self._changes:
            _set_threads(pool, number)
        self._changes = []


def _set_threads(pool: Any, number: int) -> None:
    """Set the threads of a library, whichever thread asks.

    Newer versions of threadpoolctl let one thread only, the first, set those of OpenBLAS, and do
    nothing for others: solves in other threads would not be limited.
    """
    if getattr(pool, "threading_layer", "") == "pthreads":
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            function = getattr(pool.dynlib, f"{prefix}openblas_set_num_threads{suffix}", None)
            if function is not None:
                function(number)
                return
    pool.set_num_threads(number)


_shared_threads = _SharedThreads()


class limited_threads:
    """Hold the BLAS threads to a number inside the block; ``None`` leaves them as they are set.

    Blocks that need different numbers wait for each other, for at most `patience` seconds.
    """

    def __init__(self, threads: int | None, patience: float = _LONGEST_WAIT) -> None:
        self.threads = threads
        self.patience = min(patience, _LONGEST_WAIT)
        self.owner = get_ident()
        self.held = False

    def __enter__(self) -> limited_threads:
        """Wait for the block's turn."""
        _shared_threads.enter(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Let others go on."""
        if self.held:
            _shared_threads.leave(self)

    # Ctrl-C can strike after `enter` and before the block.
    __del__ = __exit__


def _after_fork() -> None:
    global _lock
    _lock = Lock()
    _core.forget_abandoned()
    _core.forget_blas_calls()
    _shared_threads.forget_other_threads()


if hasattr(os, "register_at_fork"):
    # A lock that another thread held at the fork would never be released.
    os.register_at_fork(after_in_child=_after_fork)
