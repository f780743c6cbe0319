"""Files whose readers need PyTorch: images in the IDX format, folders of runs."""

from __future__ import annotations

import gzip
import shutil

import numpy as np

from fuzz.source import Source, refusals, scratch_folder
from ufm.torch.config import RunConfig
from ufm.torch.data.idx import read_idx
from ufm.torch.run_folder import CONFIG, FINAL, METRICS, STATE, is_done, load_run, write_config

_FILES = (CONFIG, STATE, METRICS, FINAL)


def idx(data: bytes) -> None:
    """An IDX file, plain or gzipped: refused with its name, or all of its bytes."""
    path = scratch_folder() / ("images.gz" if data[:2] == b"\x1f\x8b" else "images")
    path.write_bytes(data)
    with refusals(ValueError, names=lambda message: str(path) in message):
        array = read_idx(path)
        content = gzip.decompress(data) if path.suffix else data
        assert array.dtype == np.uint8 and content.endswith(array.tobytes())


def run(data: bytes) -> None:
    """A run's folder with one file replaced: refused, or a run."""
    source = Source(data)
    folder = scratch_folder() / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_config(folder, RunConfig())
    (folder / STATE).write_text('{"status": "finished"}\n')
    (folder / METRICS).write_text("epoch,loss\n1,0.5\n")
    (folder / source.choice(_FILES)).write_bytes(source.rest())
    is_done(folder)
    with refusals(ValueError, TypeError, names=bool):
        found = load_run(folder)
        assert found.status
        assert len({column.shape for column in found.metrics.values()}) <= 1
