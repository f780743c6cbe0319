"""Files that others may have written or damaged: protocols, sweeps under way, runs."""

from __future__ import annotations

import shutil
import warnings

from fuzz.source import Source, refusals, scratch_folder
from ufm.planning.store import Store
from ufm.torch.protocol import _parse


def protocol(data: bytes) -> None:
    """The TOML file of an experiment: refused with its name or key, or a list of runs."""
    text = data.decode("utf-8", "replace")
    # Not what Python says of a value that nobody has looked at.
    with refusals(ValueError, TypeError, names=lambda message: " object" not in message):
        parsed = _parse("fuzz", text, "fuzz.toml")
        for mode in ("corrected", "as_published"):
            for run in parsed.runs(mode):
                assert run.name and "/" not in run.name
                assert run == type(run).from_dict(run.to_dict())


def store(data: bytes) -> None:
    """What a stopped sweep has left: refused with its name, or read whole, or solved again."""
    source = Source(data)
    kind = source.below(2)
    path = scratch_folder() / "sweep.nc"
    partial = path.with_name("sweep.nc.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    sweep = Store(path, {"counts": "500x5"})
    try:
        if kind == 0:
            (partial / "sweep.json").write_bytes(source.rest())
            with refusals(ValueError, names=lambda message: message.startswith("store: ")):
                found = sweep.open(10, 5)
                assert found[0][0] == 0 and found[-1][1] == 10
        else:
            sweep.open(10, 5)
            (partial / "chunk-000000.npz").write_bytes(source.rest())
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "store: .* is damaged", RuntimeWarning)
                arrays = sweep.read_chunk(0)
            assert arrays is None or all(len(array) == 5 for array in arrays.values())
    finally:
        sweep.close()
