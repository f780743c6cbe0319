"""Checkpoints, runs, protocols and images from strangers: clear errors, no foreign code."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")

from ufm.torch import load_protocol  # noqa: E402
from ufm.torch._checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from ufm.torch.data import load_images  # noqa: E402
from ufm.torch.data.idx import read_idx  # noqa: E402
from ufm.torch.run_folder import load_run, write_config, write_state  # noqa: E402

CPU = torch.device("cpu")


class Bomb:
    """Pickles to a call that would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o777)


def checkpoints(mark: Path) -> dict[str, bytes]:
    """Checkpoints that are damaged, foreign or malicious."""
    good, evil, legacy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"epoch": 3, "w": torch.ones(100)}, good)
    torch.save({"epoch": Bomb(mark)}, evil)
    torch.save({"epoch": Bomb(mark)}, legacy, _use_new_zipfile_serialization=False)
    content = good.getvalue()
    return {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "tail missing": content[:-30],
        "random": np.random.default_rng(0).bytes(5000),
        "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 300,
        "bomb": evil.getvalue(),
        "legacy bomb": legacy.getvalue(),
        "bare bomb": pickle.dumps(Bomb(mark)),
        "list": pickle.dumps([1, 2]),
    }


@pytest.mark.parametrize("name", checkpoints(Path("unused")))
@pytest.mark.filterwarnings("ignore")
def test_bad_checkpoints_are_told_and_run_nothing(tmp_path, name):
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "mark"
    path.write_bytes(checkpoints(mark)[name])
    with pytest.raises(ValueError, match=r"checkpoint\.pt"):
        load_checkpoint(path, CPU)
    assert not mark.exists()


def test_checkpoints_of_something_else_are_not_taken_up(tmp_path):
    from test_torch_training import _config  # the smallest run there is
    from ufm.torch import train

    config = _config()
    folder = tmp_path / "run"
    folder.mkdir()
    for state in ({}, {"config": 3}, {"config": "{}", "epoch": 1}):
        save_checkpoint(folder / "checkpoint.pt", state)
        with pytest.raises(ValueError, match=r"checkpoint .*checkpoint\.pt"):
            train(config, folder)


@pytest.mark.parametrize("name", ["final.npz", "run.json", "config.toml", "metrics.csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04N.", b"PK\x03\x04" + bytes(200), b"[[[[", b"\0"]
)
def test_foreign_files_in_a_run(tmp_path, name, content):
    from ufm.torch.config import RunConfig

    write_config(tmp_path, RunConfig())
    write_state(tmp_path, {"status": "finished"})
    load_run(tmp_path)
    (tmp_path / name).write_bytes(content)
    if (name, content) == ("metrics.csv", b""):
        load_run(tmp_path)  # a run that was not measured yet
        return
    if name == "metrics.csv" and b"\n" not in content and content[:1] in b"[P\0":
        load_run(tmp_path)  # a header line alone: no measurements
        return
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        load_run(tmp_path)


# ---------------------------------------------------------------------- protocols


@pytest.mark.parametrize(
    "text",
    [
        "grid = 3",
        "seeds = 'abc'",
        "variants = [1]",
        "variants.plain = 3",
        "title = 5",
        "data = []",
        "runs_of = '/etc/passwd'",
        "runs_of = 'evil.toml'",
        "seed = 'x'",
        "unknown = 1",
        "a = " + "[" * 5000,
        "\0",
    ],
)
def test_protocols_of_the_wrong_kind(tmp_path, text):
    path = tmp_path / "evil.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"evil\.toml"):
        load_protocol(path)


@pytest.mark.parametrize("name", ["../../outside", "/absolute", "a/b", "..", ".hidden"])
def test_runs_stay_in_their_folder(tmp_path, name):
    path = tmp_path / "evil.toml"
    path.write_text(f'[variants."{name}"]\nseed = 1\n')
    with pytest.raises(ValueError, match="cannot be a folder's name"):
        load_protocol(path).runs()


# ---------------------------------------------------------------------- images


def png(width: int, height: int, data: bytes | None = None) -> bytes:
    """A grey PNG, or the claim of one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = (b"\0" + bytes(width)) * height if data is None else data
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tar_of(path: Path, entries: dict[str, bytes]) -> tarfile.TarFile:
    archive = tarfile.open(path, "w")  # noqa: SIM115
    for name, content in entries.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return archive


GOOD = {"train/a/1.png": png(4, 4), "train/b/1.png": png(4, 4)}
BAD_PICTURES = {
    "bomb": png(40_000, 40_000, b""),
    "larger bomb": png(2**31 - 1, 2**31 - 1, b""),
    "truncated": png(8, 8)[:40],
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n",
    "text": b"no picture",
    "empty": b"",
    "pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_pictures_are_named(tmp_path, name):
    """PostScript would be handed to another program."""
    pytest.importorskip("PIL")
    path = tmp_path / "set.tar"
    tar_of(path, {**GOOD, "train/b/2.png": BAD_PICTURES[name]}).close()
    with pytest.raises(ValueError, match=r"b/2\.png is not a whole image"):
        load_images("set", path)


def test_links_and_paths_in_archives_lead_nowhere(tmp_path):
    pytest.importorskip("PIL")
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(4, 4))
    archive = tar_of(tmp_path / "set.tar", {**GOOD, "../../train/a/2.png": png(4, 4)})
    for kind, target in ((tarfile.SYMTYPE, str(outside)), (tarfile.LNKTYPE, "../outside.png")):
        info = tarfile.TarInfo(f"train/a/link{kind.decode()}.png")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    device = tarfile.TarInfo("train/a/device.png")
    device.type = tarfile.CHRTYPE
    archive.addfile(device)
    archive.close()
    before = sorted(tmp_path.rglob("*"))
    images = load_images("set", tmp_path / "set.tar")
    assert images.train.labels.tolist() == [0, 0, 1]  # nothing is unpacked, so a path is a name
    assert sorted(tmp_path.rglob("*")) == before


def test_huge_members_of_archives_are_refused_unread(tmp_path):
    pytest.importorskip("PIL")
    path = tmp_path / "set.tar"
    info = tarfile.TarInfo("train/a/huge.png")
    info.size = 2**40
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(2**20)
    with pytest.raises(ValueError, match=r"huge\.png has 1,099,511,627,776 bytes|damaged"):
        load_images("set", path)


@pytest.mark.parametrize("cut", [700, 1200, 1500])
def test_truncated_archives(tmp_path, cut):
    pytest.importorskip("PIL")
    path = tmp_path / "set.tar.gz"
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=0) as archive:
        for name, content in GOOD.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(whole.getvalue()[:cut])
    with pytest.raises(ValueError, match=r"set\.tar\.gz"):
        load_images("set", path)


@pytest.mark.parametrize("suffix", ["", "gz", "xz"])
def test_archives_cut_between_members(tmp_path, suffix):
    pytest.importorskip("PIL")
    path = tmp_path / "set.tar"
    tar_of(path, {**GOOD, "train/b/2.png": png(4, 4)}).close()
    whole = path.read_bytes()
    pack = {"": bytes, "gz": gzip.compress, "xz": lzma.compress}[suffix]
    for content in (whole[:2048], whole[:2048] + b"x" * 512 + whole[2560:]):
        path.write_bytes(pack(content))
        with pytest.raises(ValueError, match=r"set\.tar is damaged: it stops without the mark"):
            load_images("set", path)
    path.write_bytes(pack(whole[:4096]))  # whole, without what pads it
    assert len(load_images("set", path).train) == 3


def test_an_archive_that_unfolds_without_end_is_not_unfolded(tmp_path):
    """512 MiB of zeros behind a header that states a hundred bytes."""
    path = tmp_path / "labels.gz"
    head = struct.pack(">BBBBI", 0, 0, 8, 1, 100)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(512):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"labels\.gz states 100 bytes"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    claim = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 2**31, 2**31)
    path.write_bytes(gzip.compress(claim))
    with pytest.raises(ValueError, match="more than is free"):
        read_idx(path)
