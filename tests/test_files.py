"""Files: whole or absent whatever ends the writer, and clear errors for files from strangers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ufm
from conftest import child_environment
from ufm import _files
from ufm.cli import main
from ufm.counts import load_counts, read_counts_csv

# ---------------------------------------------------------------------- writing

# Writes files of two kinds of content in turn until it is killed.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from ufm import _files
folder, what, step = Path(sys.argv[1]), sys.argv[2], 0
if what == "numbers":
    from ufm.figures import write_numbers
    records = [[{"a": i, "b": 0.5 * i} for i in range(300)], [{"a": -1, "b": 2.0}] * 400]
elif what == "picture":
    import ufm
    from ufm.figures import save, heatmap
    figure = heatmap(ufm.solve([500] * 3 + [100] * 3, 0.005, 0.02))
while True:
    step += 1
    kind = step % 2
    if what == "text":
        _files.write_text(folder / "out.txt", "AB"[kind] * 200_000)
    elif what == "numbers":
        write_numbers({"rows": records[kind]}, records[kind], folder / "out.json")
        write_numbers({"rows": records[kind]}, records[kind], folder / "out.csv")
    elif what == "arrays":
        with _files.replacing(folder / "out.npz") as file:
            np.savez(file, a=np.full(50_000, kind), b=np.arange(10))
    else:
        save(figure, folder / "out.svg")
    if step == 1:
        print("ready", flush=True)
"""


def check_text(path: Path) -> None:
    assert path.read_text() in ("A" * 200_000, "B" * 200_000)


def check_json(path: Path) -> None:
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == (400 if rows[0]["a"] == -1 else 300)


def check_csv(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "a,b" and len(lines) in (301, 401)


def check_arrays(path: Path) -> None:
    found = _files.read_arrays(path)
    assert found["b"].tolist() == list(range(10)) and np.unique(found["a"]).size == 1


def check_svg(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</svg>")


CHECKS = {
    "out.txt": check_text,
    "out.json": check_json,
    "out.csv": check_csv,
    "out.npz": check_arrays,
    "out.svg": check_svg,
}


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows")
@pytest.mark.parametrize("kind", ["text", "numbers", "arrays", "picture"])
def test_killed_writers_leave_whole_files(tmp_path, kind):
    """Killed several times at random moments, in the same folder."""
    if kind in ("picture", "numbers"):
        pytest.importorskip("matplotlib")
    rng = np.random.default_rng(len(kind))
    seen = 0
    for _ in range(2 if kind == "picture" else 4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), kind],
            env=child_environment(), stdout=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None and child.stdout.readline().strip() == "ready"
            time.sleep(float(rng.uniform(0.0, 0.2)))
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=30)
        for path in tmp_path.glob("out.*"):
            CHECKS[path.name](path)
            seen += 1
    assert seen >= 2
    # What a killed writer leaves behind is hidden, and never in the way.
    assert all(path.name in CHECKS or path.name.startswith(".out.") for path in tmp_path.iterdir())


def test_failures_leave_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    path.chmod(0o640)

    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left") as caught:
            _files.write_text(path, "new")
        assert caught.value.filename == str(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            _files.write_text(path, "new")
    with pytest.raises(KeyboardInterrupt):
        interrupted_half_way(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["kept.txt"]
    _files.write_text(path, "new")
    assert path.read_text() == "new"
    if sys.platform == "win32":
        return  # no such modes, and links for administrators only
    assert path.stat().st_mode & 0o777 == 0o640
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    _files.write_text(link, "through the link")
    assert link.is_symlink() and path.read_text() == "through the link"


def interrupted_half_way(path: Path) -> None:
    with _files.replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes fail instead
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from ufm.cli import main
sys.exit(main(sys.argv[1:]))
"""
COMMANDS = {
    "plot": ["solve", "--lambda-z", "0.005", "--plot", "out.png"],
    "html": ["advise", "--lambda-z", "0.005", "--html", "out.html"],
    "sweep": ["sweep", "--lambda-z", "0.001:0.01:400", "--out", "out.nc"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit on Windows")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_no_file(tmp_path, name):
    pytest.importorskip("matplotlib")
    if name == "sweep":
        pytest.importorskip("netCDF4")
    command = [*COMMANDS[name], "--counts", "500x5,100x5", "--lambda-b", "0.02"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *command], cwd=tmp_path, env=child_environment(),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not [path for path in tmp_path.glob("out.*") if path.suffix != ".partial"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_device_as_output(extra):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ufm.cli", "thresholds", "--counts", "5,3", "--lambda-b", "0.1",
             *extra],
            env=child_environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------- reading

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
RANDOM = np.random.default_rng(0).bytes(3000)
FOREIGN = {
    "empty": b"",
    "png": PNG,
    "random": RANDOM,
    "zeros": b"\0" * 500,
    "pickle": __import__("pickle").dumps({"count": [1, 2]}),
    "zip": b"PK\x03\x04" + RANDOM,
    "html": b"<!DOCTYPE html><html><body>404</body></html>\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_as_counts(tmp_path, name, capsys):
    path = tmp_path / "counts.csv"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match=r"counts\.csv"):
        read_counts_csv(path)
    command = ["--counts", str(path), "--lambda-z", "0.1x", "--lambda-b", "0.1"]
    for word in ("solve", "advise", "sweep"):
        assert main([word, *command]) == 2
        error = capsys.readouterr().err
        assert "counts.csv" in error and len(error.splitlines()) == 1


def test_a_table_with_a_billion_columns_is_refused_early(tmp_path):
    """A sparse file of a gigabyte on one line: what is read of it is a megabyte."""
    path = tmp_path / "wide.csv"
    with path.open("wb") as file:
        file.write(b"count" + b",x" * 2**19 + b"\n1")
        file.truncate(2**30)
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"wide\.csv, line 1: more than"):
        read_counts_csv(path)
    path.write_bytes(b"count\n3\n")
    with path.open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=r"wide\.csv, line 3: more than"):
        load_counts(path)
    assert time.process_time() - begin < 2.0


class Bomb:
    """Pickles to a call that would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o777)


def damaged_archives(mark: Path) -> dict[str, bytes]:
    """Archives of arrays that are none, or worse."""
    good, evil, huge, single = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(good, a=np.arange(100.0))
    np.savez(evil, a=np.array([Bomb(mark)], dtype=object))
    np.save(single, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    # A header that claims a petabyte.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**47,)}
    )
    import zipfile

    with zipfile.ZipFile(huge, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + b"\0" * 64)
    content = good.getvalue()
    return {
        **FOREIGN,
        "truncated": content[: len(content) // 2],
        "flipped": content[:90] + bytes([content[90] ^ 255]) + content[91:],
        "objects": evil.getvalue(),
        "single": single.getvalue(),
        "huge": huge.getvalue(),
        "bare bomb": __import__("pickle").dumps(Bomb(mark)),
    }


@pytest.mark.parametrize("name", damaged_archives(Path("unused")))
def test_damaged_and_malicious_archives_of_arrays(tmp_path, name):
    path, mark = tmp_path / "final.npz", tmp_path / "mark"
    path.write_bytes(damaged_archives(mark)[name])
    with pytest.raises(ValueError, match=r"final\.npz cannot be read"):
        _files.read_arrays(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [*FOREIGN.values(), b"[1, 2]", b"3", b"[" * 100_000, b'{"a": ' * 50_000, b"{", b'{"a": 1'],
)
def test_damaged_json_and_toml(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json cannot be read"):
        _files.read_json_table(path)
    if content.strip():
        with pytest.raises(ValueError, match=r"run\.json cannot be read"):
            _files.read_toml(path)


# ---------------------------------------------------------------------- stores of sweeps


def store_arguments(path: Path) -> dict[str, object]:
    return {"lambda_z": [0.001, 0.002], "lambda_b": 0.02, "store": path}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_foreign_files_as_stores(tmp_path, name, suffix):
    pytest.importorskip("netCDF4")
    pytest.importorskip("zarr")
    path = tmp_path / f"out{suffix}"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match="out"):
        ufm.sweep([5, 5, 3], **store_arguments(path))
    assert path.read_bytes() == FOREIGN[name]


@pytest.mark.parametrize("record", ["[]", "3", '{"identity": 3, "chunk_size": 4}', "[" * 99_999])
def test_strange_manifests_of_stores(tmp_path, record):
    pytest.importorskip("netCDF4")
    folder = tmp_path / "out.nc.partial"
    folder.mkdir()
    (folder / "sweep.json").write_text(record)
    with pytest.raises(ValueError, match="store: "):
        ufm.sweep([5, 5, 3], **store_arguments(tmp_path / "out.nc"))


def test_pickles_in_stores_are_never_loaded(tmp_path):
    """A zarr store whose array is a pickle, under the name that a sweep is looked for."""
    pytest.importorskip("xarray")
    zarr = pytest.importorskip("zarr")
    pickles = pytest.importorskip("numcodecs").Pickle()
    path, mark = tmp_path / "out.zarr", tmp_path / "mark"
    ufm.sweep([5, 5, 3], **store_arguments(path))
    group = zarr.open_group(path, mode="a")
    target = path / "rank"
    assert target.is_dir() and group is not None
    record = json.loads((target / ".zarray").read_text())
    record |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "compressor": None,
               "fill_value": None}  # fmt: skip
    (target / ".zarray").write_text(json.dumps(record))
    whole = json.loads((path / ".zmetadata").read_text())
    whole["metadata"]["rank/.zarray"] = record
    (path / ".zmetadata").write_text(json.dumps(whole))
    values = np.empty(record["shape"], dtype=object)
    values[...] = Bomb(mark)
    for chunk in target.iterdir():
        if not chunk.name.startswith("."):
            chunk.write_bytes(pickles.encode(values))
    with pytest.raises(ValueError, match="Python objects; refused"):
        ufm.sweep([5, 5, 3], **store_arguments(path))
    assert not mark.exists()


def test_damaged_chunks_with_pickles_are_solved_again(tmp_path):
    pytest.importorskip("netCDF4")
    path, mark = tmp_path / "out.nc", tmp_path / "mark"

    def stop(done: int, total: int) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    arguments = {**store_arguments(path), "lambda_z": np.geomspace(1e-3, 1e-2, 6), "chunk_size": 1}
    with pytest.raises(KeyboardInterrupt):
        ufm.sweep([5, 5, 3], progress=stop, **arguments)
    chunk = tmp_path / "out.nc.partial" / "chunk-000000.npz"
    for content in damaged_archives(mark).values():
        chunk.write_bytes(content)
        with (
            pytest.warns(RuntimeWarning, match="chunk-000000.npz' is damaged"),
            pytest.raises(KeyboardInterrupt),
        ):
            ufm.sweep([5, 5, 3], progress=stop, **arguments)
    assert not mark.exists()
