"""Experiments of several runs as TOML files: :func:`load_protocol`.

A protocol is a run's tables (``data``, ``model``, ``penalty``, ``training``; keys as in
:class:`ufm.torch.RunConfig`) and what varies:

- ``[grid]``: lists by dotted key, such as ``"penalty.lambda_z" = [0.0027, 0.0033]``; the runs are
  all combinations, in the order written.
- ``[variants.NAME]``: tables that replace keys; each combination is run in each variant.
  ``[variants.NAME.when]`` limits a variant to combinations with the values given there.
- ``seeds``: every combination once for each seed of network, batches and choice of images.
- ``[as_published]``: what the published code does otherwise. Its tables replace keys, its ``grid``
  lists of the grid, and its ``variants`` lists those that are run; without it, only ``plain`` is.

``runs_of = "NAME"`` makes another picture of another protocol's runs, ``only = [...]`` of those
whose names are listed (``only`` in ``[as_published]`` where those are named otherwise).
"""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ufm._files import reading
from ufm.problem import check_choice
from ufm.torch._protocol_check import check_form
from ufm.torch.config import MODES, RunConfig

_TABLES = ("data", "model", "penalty", "training")
_KEYS = {
    "title",
    "seeds",
    "figure",
    "runs_of",
    "only",
    "seed",
    *_TABLES,
    "grid",
    "variants",
    "as_published",
}
_PUBLISHED_KEYS = {*_TABLES, "grid", "variants", "only"}


@dataclass(frozen=True)
class Protocol:
    """An experiment.

    Attributes
    ----------
    name : str
        Name of its file, and of the folder of its runs.
    title : str
        What it shows, in a line.
    figures : tuple of int
        The paper's figures that its runs serve; may be empty.
    record : dict
        The TOML file's content.
    """

    name: str
    title: str
    figures: tuple[int, ...]
    record: dict[str, Any]

    def runs(self, mode: str = "corrected") -> list[RunConfig]:
        """Configurations of all runs, in the order in which they are to be trained.

        Parameters
        ----------
        mode : str
            ``"corrected"``, or ``"as_published"``: with the published code's quirks, where the
            protocol states them.

        Raises
        ------
        ValueError
            If a key is unknown, a value is out of range, or the protocol has no quirks to keep.
        TypeError
            If a value has the wrong type.
        """
        check_choice("mode", mode, MODES)
        base = {key: self.record.get(key, {}) for key in _TABLES}
        base["seed"] = self.record.get("seed", 0)
        published = self._published() if mode == "as_published" else {}
        quirks = {key: table for key, table in published.items() if key in _TABLES}
        found = []
        for labels, changes in self._combinations(published if mode == "as_published" else None):
            # A variant must not undo what a quirk sets.
            record = merged(merged(base, changes), quirks)
            name = "_".join(labels) or self.name
            if name != Path(name).name or name.startswith(".") or "\\" in name:
                raise ValueError(f"protocol {self.name}: {name!r:.80} cannot be a folder's name")
            found.append(RunConfig.from_dict({**record, "name": name, "mode": mode}))
        chosen = published.get("only", self.record.get("only", []))
        if chosen:
            known = {config.name: config for config in found}
            missing = [name for name in chosen if name not in known]
            if missing:
                raise ValueError(f"protocol {self.name} has no run {missing[0]!r}")
            found = [known[name] for name in chosen]
        names = [config.name for config in found]
        if len(set(names)) != len(names):
            raise ValueError(f"protocol {self.name} holds the same run twice")
        return found

    def _published(self) -> dict[str, Any]:
        """The table of the published code's quirks."""
        if "as_published" not in self.record:
            raise ValueError(f"protocol {self.name} has no mode as_published")
        found: dict[str, Any] = self.record["as_published"]
        unknown = set(found) - _PUBLISHED_KEYS
        if unknown:
            raise ValueError(
                f"as_published: unknown key '{min(unknown)}'; allowed: "
                + ", ".join(sorted(_PUBLISHED_KEYS))
            )
        return found

    def _variants(self, published: dict[str, Any] | None) -> dict[str, Any]:
        """The variants that are run, by the label that they give a run's name."""
        variants: dict[str, Any] = self.record.get("variants", {"": {}})
        if published is None:
            return variants
        if "variants" not in published:
            # The remedies are not the published code's.
            return {"": variants.get("plain", {})}
        unknown = [name for name in published["variants"] if name not in variants]
        if unknown:
            raise ValueError(f"as_published: protocol {self.name} has no variant {unknown[0]!r}")
        return {name: variants[name] for name in published["variants"]}

    def _combinations(
        self, published: dict[str, Any] | None
    ) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Labels and changed keys of each run."""
        grid = {**self.record.get("grid", {}), **(published or {}).get("grid", {})}
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"grid: '{key}' must be a list of values, got {values!r:.80}")
        variants = self._variants(published)
        seeds = self.record.get("seeds", [None])
        points = itertools.product(*grid.values())
        for variant, values, seed in itertools.product(variants, points, seeds):
            point = dict(zip(grid, values, strict=True))
            changes = dict(variants[variant])
            wanted = changes.pop("when", {})
            if any(point.get(key) != value for key, value in wanted.items()):
                continue
            record: dict[str, Any] = {}
            for key, value in point.items():
                record = merged(record, nested(key, value))
            labels = [variant] if variant else []
            labels += [label(key, value) for key, value in point.items()]
            record = merged(record, changes)
            if seed is not None:
                labels.append(f"seed={seed}")
                record = merged(record, {"seed": seed, "data": {"seed": seed}})
            yield labels, record


def load_protocol(name: str | os.PathLike[str]) -> Protocol:
    """Read a protocol.

    Parameters
    ----------
    name : str or path
        One of :func:`protocol_names`, or a TOML file.

    Returns
    -------
    Protocol

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the protocols that come with ufm.
    ValueError
        If the file is no TOML, or has unknown keys.

    Examples
    --------
    >>> from ufm.torch import load_protocol
    >>> protocol = load_protocol("figure5-digits")
    >>> runs = protocol.runs()
    >>> len(runs), runs[0].data.counts
    (40, '100x5,20x5')
    """
    return _parse(*_read(name))


def _read(name: str | os.PathLike[str]) -> tuple[str, str, str]:
    """Name and text of a protocol, and what errors call it."""
    path = Path(name)
    if path.suffix == ".toml":
        with reading(path):
            text = path.read_text(encoding="utf-8")
        return path.stem, text, str(path)
    known = protocol_names()
    if str(name) not in known:
        raise ValueError(f"protocol must be a .toml file or one of {', '.join(known)}, got {name}")
    text = _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return str(name), text, str(name)


def protocol_names() -> list[str]:
    """Protocols that come with ufm.

    Examples
    --------
    >>> from ufm.torch import protocol_names
    >>> "figure5-digits" in protocol_names()
    True
    """
    files = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def _folder() -> Any:
    return resources.files("ufm.torch").joinpath("protocols")


def _parse(name: str, text: str, where: str, *, is_other: bool = False) -> Protocol:
    try:
        record = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where} is not valid TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{where} nests its values too deeply") from None
    unknown = set(record) - _KEYS
    if unknown:
        raise ValueError(
            f"{where}: unknown key '{min(unknown):.80}'; allowed: {', '.join(sorted(_KEYS))}"
        )
    check_form(record, where)
    if "runs_of" in record:
        if record["runs_of"] not in protocol_names():
            raise ValueError(
                f"{where}: 'runs_of' must name a protocol of ufm, got {record['runs_of']!r:.80}"
            )
        # Another picture of the same runs, which are therefore kept in the other's folder.
        if is_other:
            raise ValueError(f"{where} is about another protocol's runs and has none of its own")
        shared = _parse(*_read(record["runs_of"]), is_other=True)
        whole = {**shared.record, "only": record.get("only", [])}
        if "as_published" in record and "as_published" in shared.record:
            whole["as_published"] = {**shared.record["as_published"], **record["as_published"]}
        figures = tuple(record.get("figure", ()))
        return Protocol(shared.name, record.get("title", name), figures, whole)
    return Protocol(name, record.get("title", name), tuple(record.get("figure", ())), record)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `changes`, table by table."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def nested(key: str, value: Any) -> dict[str, Any]:
    """The nested dict that a dotted key stands for."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def label(key: str, value: Any) -> str:
    """A piece of a run's name; safe as a name of a folder."""
    short = key.rsplit(".", 1)[-1]
    text = value if isinstance(value, str) else f"{short}={value}"
    return re.sub(r"[^\w.=+-]+", "+", text)
