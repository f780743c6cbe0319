"""Advice in words and tables: what the text, the command line and the page share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ufm.planning.advice import Advice, ClusterAdvice

MOST_ROWS = 12
_NAMED = 8


# ---------------------------------------------------------------------- numbers


def number(value: float) -> str:
    """A count: whole numbers with thousands separated, others to four digits."""
    if math.isfinite(value) and value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def brief(value: float) -> str:
    """A count in few characters: 500, 12,345, 28.8M."""
    if value < 99_999.5:
        return number(value)
    for unit, suffix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if value / unit < 999.5:
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.3g}"


def short(value: float | None) -> str:
    """A factor or ratio to four digits, "-" where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def span(values: Iterable[float | None], form: str = ".3g") -> str:
    """Write the least and the largest as "1.2 to 3.4", one number, or "-" for none."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return "-"
    low, high = f"{min(known):{form}}", f"{max(known):{form}}"
    return low if low == high else f"{low} to {high}"


def plural(size: float, one: str, many: str) -> str:
    """Write a number with its noun."""
    return f"{number(size)} {one if size == 1 else many}"


def classes(size: int) -> str:
    """Write "1 class" or "5 classes"."""
    return plural(size, "class", "classes")


# ---------------------------------------------------------------------- rows of the main table


@dataclass(frozen=True)
class Range:
    """Neighbouring sizes that one row of a table tells of."""

    clusters: list[ClusterAdvice]

    @property
    def sizes(self) -> str:
        """Write "5" or "5 to 19"."""
        low, high = self.clusters[-1].count, self.clusters[0].count
        return number(low) if low == high else f"{brief(low)} to {brief(high)}"

    @property
    def num_classes(self) -> int:
        """Classes of these sizes."""
        return sum(cluster.multiplicity for cluster in self.clusters)

    @property
    def merged(self) -> int:
        """Classes of these that merge."""
        return sum(cluster.multiplicity for cluster in self.clusters if cluster.merged)

    @property
    def bias_only(self) -> int:
        """Classes of these that the bias alone predicts."""
        return sum(cluster.multiplicity for cluster in self.clusters if cluster.bias_only)

    @property
    def alone(self) -> int:
        """Classes of these that share their size with no other."""
        return sum(1 for cluster in self.clusters if cluster.multiplicity == 1)

    @property
    def verdict(self) -> str:
        """What becomes of them, in a few words."""
        if self.merged == 0:
            words = "single" if self.alone == self.num_classes else "separate"
        elif self.merged == self.num_classes:
            words = "merged"
        else:
            words = f"{number(self.merged)} merged"
        if self.bias_only:
            every = self.bias_only == self.num_classes
            words += ", bias only" if every else f", {number(self.bias_only)} bias only"
        return words

    def spread(self, name: str, form: str = ".3g") -> str:
        """Smallest to largest value of an attribute of the clusters."""
        return span((getattr(cluster, name) for cluster in self.clusters), form)


def ranges(advice: Advice) -> list[Range]:
    """The clusters themselves where they are few, else ranges of sizes, falling.

    Ranges end where the verdict or the recommendation changes: at the merging size, with and
    without margin, and at the level of the plan; between these at powers of ten.
    """
    clusters = advice.clusters
    if len(clusters) <= MOST_ROWS:
        return [Range([cluster]) for cluster in clusters]
    line = advice.merging_count
    cuts = [line, line * (1 + advice.margin) ** 2]
    if advice.oversampling.level is not None:
        cuts.append(advice.oversampling.level * (1 - 1e-12))
    low, high = (math.log10(clusters[position].count) for position in (-1, 0))
    every = max(1, math.ceil((high - low) / (MOST_ROWS - 3)))
    cuts += [10.0**power for power in range(math.floor(low), math.ceil(high) + 1, every)]
    found: dict[int, list[ClusterAdvice]] = {}
    for cluster in clusters:
        found.setdefault(sum(cluster.count > cut for cut in cuts), []).append(cluster)
    return [Range(part) for _, part in sorted(found.items(), reverse=True)]


# ---------------------------------------------------------------------- sentences


def verdict(advice: Advice) -> str:
    """What merges, and why, in one or two sentences."""
    size = advice.counts.size
    merged = [cluster for cluster in advice.clusters if cluster.merged]
    if size == 1:
        return "There is a single class: nothing can merge."
    if advice.everything_collapsed:
        return (
            f"Everything collapses: at lambda_z = {advice.lambda_z:.4g} (beyond "
            f"{advice.lambda_max:.4g}) the features carry nothing and the bias alone predicts all "
            f"{classes(size)}."
        )
    if merged:
        total = sum(cluster.multiplicity for cluster in merged)
        largest = max(cluster.count for cluster in merged)
        verb = "merges" if total == 1 else "merge"
        words = (
            f"{number(total)} of {classes(size)} {verb}: those that share their size with others "
            f"and have at most {plural(largest, 'sample', 'samples')}."
        )
        bias_only = sum(c.multiplicity for c in advice.clusters if c.bias_only)
        if bias_only:
            words += f" The bias alone predicts {classes(bias_only)}."
        return words + _beside(advice)
    tied = [cluster for cluster in advice.clusters if cluster.multiplicity > 1]
    if not tied:
        return "No two classes have the same size, so none merge exactly." + _beside(advice)
    closest = max(tied, key=lambda cluster: cluster.ratio)
    return (
        f"No classes merge; the closest to it, {classes(closest.multiplicity)} of "
        f"{plural(closest.count, 'sample', 'samples')}, are at {closest.ratio:.3g} of their "
        f"threshold." + _beside(advice)
    )


def _beside(advice: Advice) -> str:
    """What the verdict must add about classes that are alone in their size."""
    alone = [c for c in advice.clusters if c.multiplicity == 1 and c.ratio >= 1]
    if not alone:
        return ""
    index = span((cluster.soft_collapse for cluster in alone), ".2f")
    verb = "is" if len(alone) == 1 else "are"
    return (
        f" {classes(len(alone))} alone in {'its' if len(alone) == 1 else 'their'} size {verb} "
        f"small enough to merge if others had that size: soft-collapse index {index}."
    )


def confirmation(advice: Advice, name: str | None) -> str:
    """Write "confirmed, gap 1e-9", what went wrong, or "-" where nothing was solved."""
    for check in advice.checks:
        if check.name == name:
            words = "confirmed" if check.confirmed else f"NOT confirmed ({check.status})"
            return f"{words}, gap {check.relative_gap:.1e}"
    return "-"


def sizes_line(advice: Advice) -> str:
    """How many classes of how many sizes."""
    different = plural(len(advice.clusters), "size", "different sizes")
    return f"{classes(advice.counts.size)} of {different}"


def penalties_line(advice: Advice) -> str:
    """Which lambdas, and where they come from."""
    given = advice.penalties
    words = f"lambda_z = {given.lambda_z:.6g}, lambda_b = {advice.lambda_b:.6g}"
    if given.weight_decay is not None:
        words += (
            f" (weight_decay {given.weight_decay:.6g}, feature_decay {given.feature_decay:.6g} "
            f"on the {given.feature_penalty} over samples)"
        )
    return words


def names_of(advice: Advice, clusters: Iterable[ClusterAdvice]) -> str:
    """The first few names of the classes of some clusters; empty without names."""
    if advice.names is None:
        return ""
    found = [advice.names[i] for cluster in clusters for i in cluster.classes.tolist()]
    more = f" and {number(len(found) - _NAMED)} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


COLUMNS = (
    "samples",
    "classes",
    "verdict",
    "lambda_z /\nthreshold",
    "soft-collapse\nindex",
    "oversampling\nfactor",
    "class weight\n(normalised)",
)


def row(part: Range) -> list[str]:
    """The cells of one row of the main table, in the order of `COLUMNS`."""
    return [
        part.sizes,
        number(part.num_classes),
        part.verdict,
        part.spread("ratio"),
        part.spread("soft_collapse", ".3f"),
        part.spread("factor"),
        part.spread("normalised_weight"),
    ]


def closing(advice: Advice) -> str:
    """How many solves stand behind the statements."""
    worst = max(check.relative_gap for check in advice.checks)
    good = sum(check.confirmed for check in advice.checks)
    words = (
        f"{good} of {plural(len(advice.checks), 'solve', 'solves')} confirm this; largest relative "
        f"duality gap {worst:.1e} (goal {advice.checks[0].tol:.0e})."
    )
    if advice.unchecked:
        words += (
            f" {plural(advice.unchecked, 'factor', 'factors')} for single sizes by the same "
            "formula, not solved again."
        )
    return words
