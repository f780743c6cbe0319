"""Class sizes from text, CSV files and formulas.

All functions return a float64 array of shape (K,): the number of samples of
each class, positive and finite, in the order in which they were given.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EXAMPLES",
    "CountExample",
    "exponential_tail",
    "load_counts",
    "parse_counts",
    "read_counts_csv",
]

FloatArray = NDArray[np.float64]


class _Reader(Protocol):
    """What `csv.reader` returns; its class has no public name."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


# A typing slip such as 5x1e9 should be an error message, not an exhausted memory.
_MAX_CLASSES = 10_000_000
_LONGEST_LINE = 1 << 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MULTIPLICITY = re.compile(r"\d+", re.ASCII)
# Everything that a count list can be made of: such text is never taken for a file name.
_LIST_CHARACTERS = re.compile(r"[\s\d.,xXeE+-]*", re.ASCII)


def parse_counts(text: str) -> FloatArray:
    """Read a comma-separated list of counts.

    Each entry is a count, or ``COUNTxCLASSES`` for several classes of one
    size: ``"500x5,100x5"`` is five classes of 500 samples, then five of 100.

    Parameters
    ----------
    text : str
        The list, such as ``"500x5,100x5"``, ``"500,100,30"`` or ``"1e6x3"``.

    Returns
    -------
    ndarray of float64, shape (K,)
        One count a class.

    Raises
    ------
    ValueError
        If an entry is empty, not a number, not positive, not finite, has a
        multiplicity that is not a positive integer, or if there are more than
        ten million classes.

    Examples
    --------
    >>> from ufm import counts
    >>> counts.parse_counts("500x2,100").tolist()
    [500.0, 500.0, 100.0]
    """
    if not text.strip():
        raise ValueError("counts: nothing given; write for example 500x5,100x5")
    values: list[float] = []
    multiplicities: list[int] = []
    for position, entry in enumerate(text.split(","), start=1):
        count, multiplicity = _parse_entry(entry.strip(), f"counts: entry {position}")
        values.append(count)
        multiplicities.append(multiplicity)
    if sum(multiplicities) > _MAX_CLASSES:
        raise ValueError(
            f"counts: {sum(multiplicities):,} classes given, at most {_MAX_CLASSES:,} are allowed"
        )
    return np.repeat(np.array(values, dtype=np.float64), multiplicities)


def read_counts_csv(path: str | os.PathLike[str]) -> FloatArray:
    """Read the column ``count`` of a CSV file with a header line.

    Other columns (for example ``class``) and blank lines are ignored.

    Parameters
    ----------
    path : str or path-like
        A comma-separated file in UTF-8, with or without a byte-order mark.

    Returns
    -------
    ndarray of float64, shape (K,)
        One count a class, in the order of the file.

    Raises
    ------
    OSError
        If the file is missing, is a directory or cannot be read.
    ValueError
        If the file is empty, is not UTF-8 text, has no column ``count`` or has
        it twice, or if a line has too few or too many fields or a count that
        is not a positive finite number. The message names the line.
    """
    path = Path(path)
    try:
        # utf-8-sig drops the byte-order mark that spreadsheets write.
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _count_field(csv.reader(_lines(file, path), strict=True), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from None


def load_counts(text_or_path: str | os.PathLike[str]) -> FloatArray:
    """Read counts from a list such as ``"500x5,100x5"`` or from a CSV file.

    Text made only of what a list can contain (digits, commas, ``x``, signs,
    exponents, blanks) is a list. Everything else is the path of a CSV file.

    Parameters
    ----------
    text_or_path : str or path-like
        What `parse_counts` or `read_counts_csv` takes.

    Returns
    -------
    ndarray of float64, shape (K,)
        One count a class.

    Raises
    ------
    OSError
        If a file is meant and cannot be read.
    ValueError
        If it is neither a list nor an existing file, or has faulty content.

    Examples
    --------
    >>> from ufm import counts
    >>> counts.load_counts("500x2,100").tolist()
    [500.0, 500.0, 100.0]
    """
    if not isinstance(text_or_path, str):
        return read_counts_csv(text_or_path)
    if _LIST_CHARACTERS.fullmatch(text_or_path):
        return parse_counts(text_or_path)
    looks_like_file = text_or_path.lower().endswith(".csv") or os.sep in text_or_path
    if looks_like_file or os.path.exists(text_or_path):
        return read_counts_csv(text_or_path)
    if "," in text_or_path:
        return parse_counts(text_or_path)  # raises, and names the faulty entry
    raise ValueError(
        f"counts: {_quote(text_or_path)} is neither a list such as 500x5,100x5 nor a CSV file"
    )


def exponential_tail(num_classes: int, largest: int, ratio: float) -> FloatArray:
    """Exponential long tail, ``n_k = floor(largest * ratio ** (-k / (K - 1)))``.

    The construction of the CIFAR-LT benchmarks (Cui et al., "Class-balanced
    loss based on effective number of samples", 2019).

    Parameters
    ----------
    num_classes : int
        Number of classes K, at least 2.
    largest : int
        Count of the first class, at least `ratio`.
    ratio : float
        Largest over smallest count, at least 1.

    Returns
    -------
    ndarray of float64, shape (K,)
        Whole numbers, descending.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from ufm import counts
    >>> counts.exponential_tail(5, largest=500, ratio=100).tolist()
    [500.0, 158.0, 50.0, 15.0, 5.0]
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if not 1 <= ratio <= largest:
        raise ValueError(f"ratio must lie between 1 and largest = {largest}, got {ratio}")
    exponents = -np.arange(num_classes) / (num_classes - 1)
    # Without the last factor, 500 * 100 ** -1 may come out just below 5 and lose a sample.
    counts = np.floor(largest * np.power(float(ratio), exponents) * (1 + 1e-12))
    return np.asarray(counts, dtype=np.float64)


@dataclass(frozen=True)
class CountExample:
    """A named list of class sizes.

    Attributes
    ----------
    title : str
        What the list is, in a few words.
    text : str
        The list in the notation of `parse_counts`.
    """

    title: str
    text: str

    @property
    def counts(self) -> FloatArray:
        """The counts, shape (K,), a new array each time."""
        return parse_counts(self.text)


def _tail_text(num_classes: int, largest: int, ratio: float) -> str:
    return ",".join(f"{count:g}" for count in exponential_tail(num_classes, largest, ratio))


EXAMPLES: Mapping[str, CountExample] = MappingProxyType(
    {
        "minority": CountExample("five classes of 500, five of 100", "500x5,100x5"),
        "minority-3-7": CountExample("three classes of 500, seven of 100", "500x3,100x7"),
        "three-clusters": CountExample(
            "four classes of 5000, three of 4000, three of 3000", "5000x4,4000x3,3000x3"
        ),
        "cifar10-lt": CountExample("CIFAR-10-LT, imbalance 100", _tail_text(10, 5000, 100)),
        "cifar100-lt": CountExample("CIFAR-100-LT, imbalance 100", _tail_text(100, 500, 100)),
    }
)
"""Built-in class sizes by name; each is known by formula."""


def _parse_entry(entry: str, where: str) -> tuple[float, int]:
    """One entry of a list: the count, and how many classes have it."""
    if not entry:
        raise ValueError(f"{where} is empty")
    count_text, separator, multiplicity_text = entry.lower().partition("x")
    count = _positive_number(count_text.strip(), where)
    if not separator:
        return count, 1
    multiplicity_text = multiplicity_text.strip()
    if not _MULTIPLICITY.fullmatch(multiplicity_text) or not multiplicity_text.strip("0"):
        raise ValueError(
            f"{where}: the number of classes after x must be a positive integer, "
            f"got {_quote(multiplicity_text)}"
        )
    if len(multiplicity_text.lstrip("0")) > len(str(_MAX_CLASSES)):
        raise ValueError(f"{where}: at most {_MAX_CLASSES:,} classes are allowed")
    return count, int(multiplicity_text)


def _positive_number(text: str, where: str) -> float:
    """`text` as a positive finite float; `where` starts the error message."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{where}: a count must be a positive finite number, got {_quote(text)}")
    value = float(text)
    if not (0 < value < math.inf):
        raise ValueError(f"{where}: a count must be positive and finite, got {_quote(text)}")
    return value


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines, none of which may be so long that it is no table of counts."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise ValueError(
                f"{path}, line {number}: more than {_LONGEST_LINE:,} characters, which is no table"
                " of counts"
            )
        yield line


def _count_field(reader: _Reader, path: Path) -> FloatArray:
    """The column ``count`` of an open file."""
    counts: list[float] = []
    column = -1
    width = 0
    try:
        for row in reader:
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            if column < 0:
                column = _count_column([name.strip() for name in row], path)
                width = len(row)
            elif len(row) != width:
                raise ValueError(f"{where}: {len(row)} fields, but the header has {width}")
            else:
                counts.append(_positive_number(row[column].strip(), where))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None
    if column < 0:
        raise ValueError(f"{path}: the file is empty; a header line with 'count' is expected")
    if not counts:
        raise ValueError(f"{path}: a header but no counts")
    return np.array(counts, dtype=np.float64)


def _count_column(header: list[str], path: Path) -> int:
    """Index of the column ``count``."""
    found = header.count("count")
    if found != 1:
        problem = "no column 'count'" if found == 0 else f"{found} columns 'count'"
        columns = _quote(", ".join(header))
        raise ValueError(f"{path}: {problem} in the header line, which has {columns}")
    return header.index("count")


def _quote(text: str) -> str:
    """`text` in quotes, on one line, cut where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
