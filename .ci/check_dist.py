"""Check what a source distribution and a wheel contain, their sizes and the licences inside.

python .ci/check_dist.py DIST.tar.gz WHEEL...    prints the figures; exit status 1 on any fault.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

MAX_WHEEL_BYTES = 10_000_000
MAX_SDIST_BYTES = 10_000_000
SDIST_TOP = {
    *("CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "CONTRIBUTING.md", "LICENSE", "PKG-INFO"),
    *("README.md", "cpp", "docs", "examples", "licenses", "pyproject.toml", "python", "tests"),
}
LICENCES = ("LICENSE", "licenses/eigen.txt", "licenses/pybind11.txt")
IN_PACKAGE = re.compile(r"ufm/.+\.(py|pyi|toml)|ufm/py\.typed")
CORE = re.compile(r"ufm/_core\.[\w.-]+\.(so|pyd)")
# Libraries that the repairing tools copy beside the package.
BUNDLED = re.compile(r"ufm\.libs/.+|ufm/\.dylibs/.+")
JUNK = re.compile(r"\.(so|pyd|pyc|o|a|whl|gz|h5|nc)$|(^|/)(__pycache__|build|\.[^/]+)(/|$)")


def of_sdist(path: Path) -> tuple[set[str], list[str]]:
    """Names inside a source distribution, and its faults."""
    with tarfile.open(path) as archive:
        names = [PurePosixPath(member.name) for member in archive if member.isfile()]
    root = path.name.removesuffix(".tar.gz")
    faults = [f"{name} is not in the folder {root}" for name in names if name.parts[0] != root]
    inside = {str(name.relative_to(root)) for name in names if name.parts[0] == root}
    top = {PurePosixPath(name).parts[0] for name in inside}
    faults += [f"{name} is missing" for name in sorted(SDIST_TOP - top)]
    faults += [f"{name} should not be there" for name in sorted(top - SDIST_TOP)]
    faults += [f"{name} should not be there" for name in sorted(inside) if JUNK.search(name)]
    if path.stat().st_size > MAX_SDIST_BYTES:
        faults.append("too large")
    return inside, faults


def of_wheel(path: Path, source: set[str]) -> list[str]:
    """Faults of a wheel that was built from this source distribution."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        info = next(n.partition("/")[0] for n in names if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8"))
    package = {name for name in names if name.startswith("ufm/") and not BUNDLED.fullmatch(name)}
    expected = {name.removeprefix("python/") for name in source if name.startswith("python/ufm/")}
    cores = {name for name in package if CORE.fullmatch(name)}
    others = {n for n in names if not n.startswith(("ufm/", f"{info}/")) and not BUNDLED.match(n)}
    faults = [f"{name} is missing" for name in sorted(expected - package)]
    faults += [f"{name} should not be there" for name in sorted(package - expected - cores)]
    faults += [f"{name} should not be there" for name in sorted(others)]
    faults += [f"{n} is of an unknown kind" for n in expected if not IN_PACKAGE.fullmatch(n)]
    if len(cores) != 1:
        faults.append(f"one compiled core should be there, not {len(cores)}")
    if not {"ufm/py.typed", "ufm/_core.pyi"} <= package:
        faults.append("type information is missing")
    if not any(name.startswith("ufm/torch/protocols/") for name in package):
        faults.append("the protocols of the experiments are missing")
    faults += [
        f"licence {name} is missing" for name in LICENCES if f"{info}/licenses/{name}" not in names
    ]
    if metadata["License-Expression"] != "BSD-3-Clause":
        faults.append(f"licence {metadata['License-Expression']}")
    if not path.name.startswith(f"ufm-{metadata['Version']}-"):
        faults.append(f"metadata of version {metadata['Version']}")
    if path.stat().st_size > MAX_WHEEL_BYTES:
        faults.append("too large")
    return faults


def main(arguments: list[str]) -> int:
    """Check the source distribution, then every wheel."""
    sdist, *wheels = map(Path, arguments)
    source, faults = of_sdist(sdist)
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB, {len(source)} files")
    faults = [f"{sdist.name}: {fault}" for fault in faults]
    for wheel in wheels:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB of at most 10 MB")
        faults += [f"{wheel.name}: {fault}" for fault in of_wheel(wheel, source)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
