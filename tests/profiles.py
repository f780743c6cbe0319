"""How many random examples a property is tried on: more in the long profile, fewer in the short.

The profile is chosen by ``pytest --hypothesis-profile=long`` or ``HYPOTHESIS_PROFILE=long``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

_STANDARD = 100
_COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


def load() -> None:
    """Register the profiles and load the one that the environment asks for."""
    # "default" is the same on every run, so that a red suite is never a matter of luck; "short" is
    # its beginning, for slow builds; "long" explores afresh each time.
    settings.register_profile("default", max_examples=_STANDARD, derandomize=True, **_COMMON)
    settings.register_profile("short", max_examples=_STANDARD // 10, derandomize=True, **_COMMON)
    settings.register_profile("long", max_examples=50 * _STANDARD, **_COMMON)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "default")


def examples(number: int) -> Callable[[Any], Any]:
    """Decorate a property that needs ``number`` examples in the default profile.

    In place of ``settings(max_examples=number)``, which no profile could change.
    """
    share = settings().max_examples / _STANDARD
    return settings(max_examples=max(1, round(number * share)))
