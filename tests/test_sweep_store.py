"""A sweep on disk: round trips, resuming whatever ended the first run, refusing what is other."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ufm
from interrupted import start_listening

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pytest.importorskip("zarr")

COUNTS = [500.0] * 5 + [100.0] * 5
SUFFIXES = (".nc", ".zarr")


def arguments(**changes):
    """Arguments of a sweep with every kind of dimension and two words as labels."""
    return {
        "counts": {"even": COUNTS, "odd one": [300.0] * 4 + [20.0] * 6},
        "lambda_z": np.geomspace(1e-3, 1e-2, 12),
        "lambda_b": [0.02, np.inf],
        "ratio": [1.0, 2.0, 7.0],
        "chunk_size": 10,
        **changes,
    }


def run(**changes):
    """Run the sweep of `arguments`."""
    given = arguments(**changes)
    return ufm.sweep(given.pop("counts"), **given)


def stop_after(parts: int):
    """Return a progress function that stops a sweep as Ctrl-C would."""

    def progress(done: int, total: int) -> None:
        if done >= parts * 10:
            raise KeyboardInterrupt

    return progress


def solved_when_resumed(**changes) -> tuple[xr.Dataset, int]:
    """Run a sweep of which the store holds a part; also how many chunks were solved for it."""
    steps = []
    dataset = run(progress=lambda done, total: steps.append(done), **changes)
    return dataset, max(len(steps) - 1, 0)  # the first call tells what was there


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    kept = run(store=path)
    assert os.listdir(tmp_path) == [path.name]
    xr.testing.assert_identical(kept, run())
    with xr.open_dataset(path, engine="netcdf4" if suffix == ".nc" else "zarr") as file:
        xr.testing.assert_identical(file.load(), kept)
        for name, variable in kept.drop_vars("counts").variables.items():
            assert file[name].dtype.kind == variable.dtype.kind
    again, steps = solved_when_resumed(store=path)
    assert steps == 0
    xr.testing.assert_identical(again, kept)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_resumed_run_is_identical(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with pytest.raises(KeyboardInterrupt):
        run(store=path, progress=stop_after(4))
    assert not path.exists()
    assert len(list(Path(f"{path}.partial").glob("chunk-*.npz"))) == 4
    # Another chunk size and number of threads change neither the layout nor the result.
    dataset, steps = solved_when_resumed(store=path, chunk_size=7, threads=2)
    assert steps == 11  # of fifteen
    xr.testing.assert_identical(dataset, run())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tol": 1e-7}, "tol"),
        ({"lambda_z": np.geomspace(1e-3, 1.0001e-2, 12)}, "lambda_z"),
        ({"lambda_b": [0.02, 0.3]}, "lambda_b"),
        ({"ratio": [1.0, 2.0, 7.5]}, "ratio"),
        ({"ratio": None}, "ratio"),
        ({"counts": {"even": COUNTS, "other": [300.0] * 4 + [20.0] * 6}}, "counts"),
        ({"counts": {"even": COUNTS, "odd one": [300.0] * 4 + [21.0] * 6}}, "counts"),
        ({"class_weights": [2.0] * 10}, "class_weights"),
        ({"per_cluster": False}, "per_cluster"),
        ({"max_iterations": 99}, "max_iterations"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_other_sweep_is_refused(tmp_path, changes, word, finished):
    path = tmp_path / "out.nc"
    if finished:
        run(store=path, lambda_b=0.02, lambda_z=[1e-3, 2e-3])
        changes = {"lambda_b": 0.02, "lambda_z": [1e-3, 2e-3]} | changes
    else:
        with pytest.raises(KeyboardInterrupt):
            run(store=path, progress=stop_after(1))
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="holds another sweep") as caught:
        run(store=path, **changes)
    assert f"{word}:" in str(caught.value)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_other_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "out.nc"
    run(store=path)
    monkeypatch.setattr("ufm.planning.sweep.__version__", "9.9")
    with pytest.raises(ValueError, match=r"ufm: .* there, 9\.9 here"):
        run(store=path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "swap", "deflate"])
def test_damaged_chunk_is_solved_again(tmp_path, damage):
    path = tmp_path / "out.nc"
    with pytest.raises(KeyboardInterrupt):
        run(store=path, progress=stop_after(4))
    chunk, other = (Path(f"{path}.partial") / f"chunk-00000{i}.npz" for i in (2, 1))
    content = chunk.read_bytes()
    middle = len(content) // 2
    packed = io.BytesIO()
    np.savez_compressed(packed, range=np.arange(1000))
    stream = packed.getvalue()
    chunk.write_bytes(
        {
            "truncate": content[:middle],
            "flip": content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :],
            "empty": b"",
            "swap": other.read_bytes(),
            # What zlib says is neither an OSError nor a ValueError.
            "deflate": stream[:60] + b"\xff" * 40 + stream[100:],
        }[damage]
    )
    with pytest.warns(RuntimeWarning, match="chunk-000002.npz' is damaged"):
        dataset, steps = solved_when_resumed(store=path)
    assert steps == 12  # three of fifteen were read
    xr.testing.assert_identical(dataset, run())


def test_unreadable_files_are_reported(tmp_path):
    path = tmp_path / "out.nc"
    path.write_bytes(b"not a dataset")
    with pytest.raises(ValueError, match=r"out\.nc' cannot be read"):
        run(store=path)
    assert path.read_bytes() == b"not a dataset"
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"a": 1}).to_netcdf(foreign)
    with pytest.raises(ValueError, match="holds no sweep"):
        run(store=foreign)
    broken = tmp_path / "broken.zarr.partial"
    broken.mkdir()
    (broken / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json' cannot be read"):
        run(store=tmp_path / "broken.zarr")


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks on Windows")
def test_two_runs_at_once_are_refused(tmp_path):
    path = tmp_path / "out.nc"

    def intrude(done: int, total: int) -> None:
        with pytest.raises(ValueError, match="another process is writing"):
            run(store=path)

    xr.testing.assert_identical(run(store=path, progress=intrude), run())


# A child that sweeps slowly enough to be stopped half-way: distinct counts, one problem a chunk.
CHILD = """
import sys
import numpy as np
import ufm
if __name__ == "__main__":
    def progress(done, total):
        print(done, total, flush=True)
    try:
        ufm.sweep(np.arange(1.0, 26.0) ** 2, lambda_z=np.geomspace(1e-5, 1e-3, 40), lambda_b=0.02,
                  store=sys.argv[1], chunk_size=1, executor={executor}, progress=progress)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def stopped_half_way(path: Path, sent: signal.Signals, executor: str = "None") -> list[str]:
    """Run CHILD, signal it after ten problems, and return what it printed after that."""
    command = [sys.executable, "-c", CHILD.format(executor=executor), str(path)]
    with start_listening(command) as child:
        assert child.stdout is not None
        while (line := child.stdout.readline()) and int(line.split()[0]) < 10:
            pass
        begin = time.perf_counter()
        child.send_signal(sent)
        rest = child.stdout.read().split("\n")
        child.wait(timeout=30)
        assert time.perf_counter() - begin < 10
    assert not path.exists()
    return rest


def resume(path: Path) -> tuple[xr.Dataset, xr.Dataset, int]:
    """Finish the sweep of CHILD; also the same without a store, and the problems solved."""
    steps = []
    counts = np.arange(1.0, 26.0) ** 2
    lambdas = np.geomspace(1e-5, 1e-3, 40)
    resumed = ufm.sweep(
        counts, lambda_z=lambdas, lambda_b=0.02, store=path,
        progress=lambda done, total: steps.append(done),
    )  # fmt: skip
    return resumed, ufm.sweep(counts, lambda_z=lambdas, lambda_b=0.02), len(steps) - 1


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
def test_killed_driver_loses_only_what_was_in_flight(tmp_path):
    path = tmp_path / "out.zarr"
    stopped_half_way(path, signal.SIGKILL)
    resumed, fresh, solved = resume(path)
    assert 0 < solved <= 30
    xr.testing.assert_identical(resumed, fresh)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize("executor", ["None", pytest.param("2", marks=pytest.mark.slow)])
def test_interrupt_keeps_finished_chunks(tmp_path, executor):
    path = tmp_path / "out.nc"
    rest = stopped_half_way(path, signal.SIGINT, executor)
    assert "interrupted" in rest
    resumed, fresh, solved = resume(path)
    assert 0 < solved <= 30
    xr.testing.assert_identical(resumed, fresh)
