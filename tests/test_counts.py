"""Counts from text, CSV files and formulas."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ufm.counts import EXAMPLES, exponential_tail, load_counts, parse_counts, read_counts_csv


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500x5,100x5", [500] * 5 + [100] * 5),
        ("500,100,30", [500, 100, 30]),
        (" 500 x 2 ,\t30 ", [500, 500, 30]),
        ("1e6x3", [1e6] * 3),
        ("2.5X2", [2.5, 2.5]),
        ("7", [7]),
    ],
)
def test_parse(text, expected):
    counts = parse_counts(text)
    assert counts.dtype == np.float64
    assert counts.tolist() == expected


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 50)), min_size=1, max_size=20))
def test_parse_reads_back_any_list(pairs):
    text = ",".join(f"{count}x{classes}" for count, classes in pairs)
    expected = [count for count, classes in pairs for _ in range(classes)]
    assert parse_counts(text).tolist() == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "nothing given"),
        ("  ", "nothing given"),
        ("500,,30", "entry 2 is empty"),
        ("500,30,", "entry 3 is empty"),
        ("500,ten", "entry 2: .*'ten'"),
        ("500,-3", "entry 2: .*'-3'"),
        ("0", "entry 1: .*'0'"),
        ("nan,5", "entry 1: .*'nan'"),
        ("5,inf", "entry 2: .*'inf'"),
        ("1e999", "entry 1: .*'1e999'"),
        ("1_000", "entry 1: .*'1_000'"),
        ("5x", "entry 1: .*positive integer"),
        ("5x0", "entry 1: .*positive integer"),
        ("5x-2", "entry 1: .*positive integer"),
        ("5x1.5", "entry 1: .*positive integer"),
        ("5x2x2", "entry 1: .*positive integer"),
        ("5x99999999999999999999", "entry 1: at most 10,000,000"),
        ("5x9999999,6x9999999", "19,999,998 classes"),
    ],
)
def test_parse_says_what_is_wrong_and_where(text, complaint):
    with pytest.raises(ValueError, match=f"^counts: .*{complaint}"):
        parse_counts(text)


def test_long_entries_are_cut_in_messages():
    with pytest.raises(ValueError, match="entry 1") as caught:
        parse_counts("a" * 10_000)
    assert len(str(caught.value)) < 200


def write(folder, content, encoding="utf-8"):
    path = folder / "counts.csv"
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    "content",
    [
        "class,count\ncat,500\ndog,30\n",
        "class,count\r\ncat,500\r\ndog,30",
        "count\n500\n\n30\n\n",
        "\n count ,class\n500 ,cat\n 30,dog\n",
        '"count","class"\n"500","cat, the"\n"30","dog\nof two lines"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv(tmp_path, content, encoding):
    path = write(tmp_path, content, encoding)
    for read in (read_counts_csv, load_counts):
        assert read(path).tolist() == [500.0, 30.0]
        assert read(str(path)).tolist() == [500.0, 30.0]
    assert read_counts_csv(path).dtype == np.float64


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("class,count\n", "a header but no counts"),
        ("class,number\ncat,5\n", "no column 'count'.*'class, number'"),
        ("500\n30\n", "no column 'count'.*'500'"),
        ("count,count\n1,2\n", "2 columns 'count'"),
        ("class,count\ncat,5\ndog,many\n", "line 3: .*'many'"),
        ("class,count\ncat,\n", "line 2: .*''"),
        ("class,count\ncat,-5\n", "line 2: .*'-5'"),
        ("class,count\ncat,0\n", "line 2: .*'0'"),
        ("class,count\ncat,nan\n", "line 2: .*'nan'"),
        ("class,count\ncat,inf\n", "line 2: .*'inf'"),
        ("class,count\ncat,5\ndog\n", "line 3: 1 fields, but the header has 2"),
        ("class,count\ncat,5,6\n", "line 2: 3 fields, but the header has 2"),
        ('class,count\n"cat,5\n', "not valid CSV"),
    ],
)
def test_csv_says_what_is_wrong_and_where(tmp_path, content, complaint):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_counts_csv(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_csv_must_be_utf8(tmp_path, encoding):
    path = write(tmp_path, "class,count\nrücken,5\n", encoding)
    with pytest.raises(ValueError, match="not UTF-8"):
        read_counts_csv(path)


def test_csv_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_counts_csv(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError):
        load_counts("none.csv")
    with pytest.raises((IsADirectoryError, PermissionError)):
        read_counts_csv(tmp_path)


def test_load_decides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizes").write_text("count\n8\n9\n")
    (tmp_path / "500").write_text("count\n8\n9\n")
    assert load_counts("sizes").tolist() == [8.0, 9.0]
    assert load_counts("500").tolist() == [500.0]  # never a file
    assert load_counts("3x2").tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match=r"'size' is neither a list .* nor a CSV file"):
        load_counts("size")
    with pytest.raises(ValueError, match=r"entry 2: .*'nan'"):
        load_counts("500,nan")


def test_csv_of_a_vocabulary_is_read_fast(tmp_path):
    counts = np.arange(50_000, 0, -1)
    lines = "".join(f"{rank},{count}\n" for rank, count in enumerate(counts))
    path = write(tmp_path, "class,count\n" + lines)
    start = time.perf_counter()
    read = read_counts_csv(path)
    seconds = time.perf_counter() - start
    assert np.array_equal(read, counts)
    assert seconds < 1.0  # about 0.05 s; the margin is for a busy machine


@pytest.mark.parametrize(
    ("name", "list_name"),
    [("cifar10-lt", "cifar10_lt_ir100"), ("cifar100-lt", "cifar100_lt_ir100")],
)
def test_examples_equal_the_stored_lists(counts_of, name, list_name):
    assert np.array_equal(EXAMPLES[name].counts, counts_of(list_name))


def test_examples():
    assert EXAMPLES["minority"].counts.tolist() == [500.0] * 5 + [100.0] * 5
    tail = EXAMPLES["cifar100-lt"].counts
    assert (len(tail), tail[0], tail[-1], tail.sum()) == (100, 500, 5, 10847)
    for example in EXAMPLES.values():
        assert example.title
        assert np.all(example.counts >= 1)


@pytest.mark.parametrize("arguments", [(1, 500, 100), (10, 500, 0.5), (10, 5, 100)])
def test_exponential_tail_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match="must"):
        exponential_tail(*arguments)
