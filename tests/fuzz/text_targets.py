"""What users type: lists of counts, CSV files, values of options."""

from __future__ import annotations

import click
import numpy as np

from fuzz.source import Source, refusals, scratch_folder
from ufm.cli.options import to_counts, to_lambda_b, to_lambda_z
from ufm.cli.sweep import Numbers
from ufm.counts import load_counts, parse_counts, read_counts_csv

_OPTION = click.Option(["--value"])
_CONTEXT = click.Context(click.Command("ufm"))


def _check_counts(counts: np.ndarray) -> None:
    assert counts.dtype == np.float64 and counts.ndim == 1 and 0 < counts.size <= 10_000_000
    assert np.isfinite(counts).all() and (counts > 0).all()


def counts(data: bytes) -> None:
    """The notation 500x5,100x5: refused with the place, or every class counted."""
    text = data.decode("utf-8", "surrogateescape")
    with refusals(ValueError, names=lambda message: message.startswith("counts: ")):
        found = parse_counts(text)
        _check_counts(found)
        entries = [entry.lower().partition("x") for entry in text.split(",")]
        assert found.size == sum(int(many.strip()) if x else 1 for _, x, many in entries)
        assert found[0] == float(entries[0][0].strip())
        assert found[-1] == float(entries[-1][0].strip())
        # What a list is made of is a list for the command line too, never a file.
        assert load_counts(text).size == found.size


def csv(data: bytes) -> None:
    """A CSV file: refused with its name, or one positive count a line."""
    path = scratch_folder() / "counts.csv"
    path.write_bytes(data)
    with refusals(ValueError, names=lambda message: str(path) in message):
        found = read_counts_csv(path)
        _check_counts(found)
        # Every count takes a digit and, but for the last, the end of a line.
        assert 2 * found.size <= len(data)
        # Written plainly, the same counts come back.
        path.write_text("count\n" + "".join(f"{count!r}\n" for count in found.tolist()))
        assert np.array_equal(read_counts_csv(path), found)


def options(data: bytes) -> None:
    """Values of --lambda-z, --lambda-b and of the lists and ranges of a sweep."""
    source = Source(data)
    kind = source.below(6)
    text = source.rest().decode("utf-8", "surrogateescape")
    with refusals(click.BadParameter, names=lambda message: message != ""):
        if kind == 0:
            value = to_lambda_z(_CONTEXT, _OPTION, text)
            assert 0 < value.number < np.inf
        elif kind == 1:
            assert to_lambda_b(_CONTEXT, _OPTION, text) >= 0
        elif kind == 2:
            if "/" not in text and "\0" not in text and not text.lower().endswith(".csv"):
                _check_counts(to_counts(_CONTEXT, _OPTION, text))
        else:
            zero = kind == 4
            values = Numbers(relative=kind == 3, zero=zero)(_CONTEXT, _OPTION, text)
            assert values is not None and 0 < values.numbers.size <= 10_000_000
            assert (values.numbers >= 0).all() if zero else (values.numbers > 0).all()
            assert zero or np.isfinite(values.numbers).all()
            assert values.several == (values.numbers.size > 1)
