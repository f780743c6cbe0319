"""Plain-text summary of a solution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ufm._loss import PLAIN

if TYPE_CHECKING:
    from ufm.clusters import Cluster
    from ufm.solution import Solution

_SHOWN = 12


def summary(solution: Solution) -> str:
    """Problem, certificate and verdict per cluster as a few lines of text."""
    lines = [
        f"Unconstrained feature model: K = {solution.num_classes} classes in "
        f"{solution.num_clusters} clusters, N = {solution.counts.sum():.10g}",
        f"  lambda_z       {solution.lambda_z:.10g}",
        f"  lambda_b       {solution.lambda_b:.10g}",
        *_loss_line(solution),
        f"  status         {solution.status.name} ({solution.status.value})",
        f"  objective      {solution.objective:.12g}",
        f"  dual objective {solution.dual_objective:.12g}",
        f"  relative gap   {solution.relative_gap:.2e}  (tol {solution.tol:.0e})",
        f"  rank of Z      {solution.rank}",
        f"  collapsed      {int(solution.collapsed.sum())} classes share a mean prediction",
        f"  took           {solution.iterations} iterations, {solution.seconds:.3g} s, "
        f"{solution.method} ({solution.linear_algebra})",
        "",
        f"  {'count':>12} {'classes':>8} {'lambda_z/threshold':>19} {'verdict':>9} "
        f"{'z_kk':>9} {'b_k':>9}",
    ]
    clusters = solution.clusters
    half = _SHOWN // 2
    shown = clusters if len(clusters) <= _SHOWN else clusters[:half] + clusters[-half:]
    for position, cluster in enumerate(shown):
        if position == half and len(shown) < len(clusters):
            lines.append(f"  {'...':>12}  ({len(clusters) - len(shown)} more clusters)")
        lines.append(_row(cluster, solution.lambda_z))
    return "\n".join(lines)


def _loss_line(solution: Solution) -> list[str]:
    text = solution.loss.describe()
    return [] if text == PLAIN.describe() else [f"  loss           {text}"]


def _row(cluster: Cluster, lambda_z: float) -> str:
    ratio = "-" if math.isnan(cluster.threshold) else f"{lambda_z / cluster.threshold:.4g}"
    verdict = "single" if cluster.multiplicity == 1 else "separate"
    if cluster.collapsed:
        verdict = "merged"
    return (
        f"  {cluster.count:>12.10g} {cluster.multiplicity:>8} {ratio:>19} {verdict:>9} "
        f"{cluster.own_logit:>9.4f} {cluster.bias:>9.4f}"
    )
