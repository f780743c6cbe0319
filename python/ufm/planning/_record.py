"""Results as plain Python values."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np


def record_of(part: Any) -> dict[str, Any]:
    """Fields of a dataclass by name, as they are."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def plain(value: Any) -> Any:
    """`value` in plain Python types that strict JSON can hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
