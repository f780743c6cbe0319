"""Parsing of option values; errors name the option."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ufm.counts import load_counts
from ufm.problem import check_counts

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class LambdaZ:
    """A value of ``--lambda-z``, absolute or relative to the first threshold."""

    number: float
    relative: bool

    def value(self, counts: Counts) -> float:
        """lambda_z for counts of shape (K,): the number, or its multiple of sqrt(min n) / N."""
        if not self.relative:
            return self.number
        return self.number * math.sqrt(float(np.min(counts))) / float(np.sum(counts))


class OutputPath(click.Path):
    """A file or folder to write, as a `pathlib.Path`.

    A lone dash is refused rather than taken for a file of that name: results for people and
    JSON go to standard output already, and pictures, tables and datasets are renamed into place.
    """

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the text of an option."""
        if value == "-":
            self.fail("'-' for standard output is not supported; name a file or folder", param, ctx)
        return super().convert(value, param, ctx)


OUTPUT_PATH = OutputPath()


def to_counts(context: click.Context, option: click.Parameter, text: str) -> Counts:
    """A list of counts or a CSV file, as an array of shape (K,)."""
    try:
        return check_counts(load_counts(text))
    except ValueError as error:
        message = str(error).removeprefix("counts: ")
    except OSError as error:
        message = f"cannot read '{text:.200}': {error.strerror}"
    raise click.BadParameter(message, context, option)


def to_lambda_z(context: click.Context, option: click.Parameter, text: str) -> LambdaZ:
    """A positive number, or one followed by x."""
    lowered = text.strip().lower()
    number = _number(lowered.removesuffix("x"))
    if not 0 < number < math.inf:
        message = f"{text!r:.80} is neither a positive number nor a multiple such as 0.1x"
        raise click.BadParameter(message, context, option)
    return LambdaZ(number, lowered.endswith("x"))


def to_lambda_b(context: click.Context, option: click.Parameter, text: str) -> float:
    """Zero, a positive number or inf."""
    number = _number(text)
    if not number >= 0:
        raise click.BadParameter(f"{text!r:.80} is not a number >= 0 or inf", context, option)
    return number


def _number(text: str) -> float:
    """The number that `text` holds; nan if it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
