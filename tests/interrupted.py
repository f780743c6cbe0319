"""A child interpreter that gets Ctrl-C in the middle of its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from conftest import child_environment

needs_sigint = pytest.mark.skipif(
    sys.platform == "win32", reason="no SIGINT to a child process on Windows"
)


def start_listening(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a child whose output is read, and which SIGINT reaches.

    Shells start background jobs with SIGINT ignored, which the children of pytest would inherit.
    """
    given = {"env": child_environment(), "stdout": subprocess.PIPE, "text": True, **options}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, **given)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt(script: str, after: float) -> tuple[str, float]:
    """Send SIGINT to a script some seconds after it has printed ``ready``.

    Returns the next line that it prints, and the seconds from the signal to that line. The script
    must print one line however it ends.
    """
    with start_listening([sys.executable, "-c", script], stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "ready"
            time.sleep(after)
            assert child.poll() is None, "the work was done before it could be interrupted"
            sent = time.perf_counter()
            child.send_signal(signal.SIGINT)
            outcome = child.stdout.readline().strip()
            taken = time.perf_counter() - sent
            child.wait(timeout=30)
        finally:
            if child.poll() is None:
                child.kill()
    return outcome, taken
