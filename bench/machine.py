"""What the numbers were measured on. No names of hosts or users."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy", "cvxpy", "clarabel", "scs", "torch", "threadpoolctl")
# Set on some machines to avoid faulty kernels; they slow OpenBLAS down.
SUSPECT = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def describe() -> dict[str, Any]:
    """CPU, memory, versions, BLAS kernels and the load before the measurements."""
    import ufm
    from ufm import _core

    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "ufm": ufm.__version__,
        "ufm_kernels": _core.instruction_set(),
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": _blas(),
        "environment": {name: os.environ[name] for name in SUSPECT if name in os.environ},
        "load_before": _load(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> list[str]:
    """Version, kernel and threads of each BLAS that numpy and SciPy bring."""
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return sorted(
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', '?')}, "
        f"{pool['num_threads']} threads)"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    )


def sentences(machine: dict[str, Any]) -> str:
    """The description as Markdown."""
    versions = ", ".join(f"{name} {v or 'missing'}" for name, v in machine["packages"].items())
    lines = [
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; load before the run {machine['load_before']}",
        f"- Python {machine['python']}, ufm {machine['ufm']} (kernels {machine['ufm_kernels']}), "
        f"{versions}",
        f"- BLAS: {'; '.join(machine['blas'])}",
    ]
    if machine["environment"]:
        settings = ", ".join(f"{k}={v}" for k, v in machine["environment"].items())
        lines.append(f"- set in the environment, which slows OpenBLAS: {settings}")
    return "\n".join(lines)
