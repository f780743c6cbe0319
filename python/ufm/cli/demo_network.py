"""The end of ``ufm demo``: small networks on handwritten digits beside the prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from ufm.comparison import Comparison

PROTOCOL = "figure5-digits"
# The features' kind is the theory's; the smaller lambda_z is below sqrt(20)/600, the other above.
RUNS = {
    "remedied_linear_lambda_z=0.006037": ("linear features", "free", "separate"),
    "remedied_linear_lambda_z=0.008721": ("linear features", "free", "merged"),
    "remedied_relu_lambda_z=0.008721": ("features after a ReLU", "nonnegative", "relu-merged"),
}


def run_networks(console: Console, folder: Path) -> bool:
    """Train the networks (about ten seconds on one core), print comparisons, write pictures.

    Runs are kept in ``folder/runs``; finished ones are not trained again.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    folder : pathlib.Path
        Where pictures and runs go.

    Returns
    -------
    bool
        Whether every network was trained to its end and every prediction converged; True where
        PyTorch is not installed, which is said.
    """
    console.print()
    console.rule("real networks: an MLP on 5 x 100 and 5 x 20 digits", align="left", style="dim")
    missing = _missing()
    if missing:
        console.print(
            f"not shown, because {missing} is not installed. To train networks: "
            'pip install "ufm[torch]"',
            markup=False,
            soft_wrap=True,
        )
        return True
    return all([_one(console, folder, name) for name in RUNS])


def _missing() -> str | None:
    """What is not installed of that which training needs."""
    for module, name in (("torch", "PyTorch"), ("sklearn", "scikit-learn")):
        try:
            __import__(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            return name
    return None


def _one(console: Console, folder: Path, name: str) -> bool:
    from ufm.cli.train import TrainingBar
    from ufm.torch import compare_run, load_protocol, train

    protocol = load_protocol(PROTOCOL)
    config = next(config for config in protocol.runs() if config.name == name)
    with TrainingBar(list(RUNS).index(name), len(RUNS)) as bar:
        run = train(config, folder / "runs" / name, progress=bar.callback)
    text, theory, label = RUNS[name]
    console.print(f"{text}, lambda_z = {config.penalty.lambda_z:g}", soft_wrap=True)
    if run.status != "finished":
        console.print(f"  training ended as {run.status}: nothing to compare", soft_wrap=True)
        return False
    found = compare_run(run.folder)
    _tell(console, found, theory)
    path = found.plot(folder / f"network-{label}.png")
    console.print(f"picture: {path}", markup=False, soft_wrap=True)
    return found.converged


def _tell(console: Console, found: Comparison, theory: str) -> None:
    fit = found.fit(theory)
    for other in found.fits:
        console.print(
            f"  theory with {other.name} features: relative error of Z "
            f"{100 * other.errors.Z_relative:.2f} %, of the centred bias "
            f"{100 * other.errors.b_centred_relative:.2f} %",
            soft_wrap=True,
        )
    for cluster, collapsed in zip(found.clusters, fit.collapsed, strict=True):
        measured = "merged" if cluster.collapsed else "separate"
        predicted = "merged" if collapsed else "separate"
        console.print(
            f"  {cluster.multiplicity} classes of {cluster.count:g}: {measured}, "
            f"predicted {predicted}",
            soft_wrap=True,
        )
