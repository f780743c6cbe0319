"""The inputs that fuzzing has kept, without a fuzzer; see fuzz/README.md."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("click")

from fuzz import targets

# An input that takes longer is a finding; most take a few milliseconds.
_PATIENCE = 20.0


@pytest.mark.parametrize("name", targets.NAMES)
def test_kept_inputs(name):
    if targets.needs_torch(name):
        pytest.importorskip("torch")
    target = targets.load(name)
    paths = targets.corpus(name)
    assert paths
    for path in paths:
        start = time.perf_counter()
        try:
            target(path.read_bytes())
        except Exception as error:
            error.add_note(f"input {path}")
            raise
        assert time.perf_counter() - start < _PATIENCE, path


def test_every_folder_has_a_target():
    folders = {path.name for path in (targets.FOLDER / "corpus").iterdir()}
    assert folders == {*targets.NAMES, "solver"}


def test_the_corpus_stays_small():
    files = [path for path in (targets.FOLDER / "corpus").rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) <= 2000
    assert sum(path.stat().st_size for path in files) < 300_000
