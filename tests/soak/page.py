"""The page about soaks: ``python -m tests.soak.page run.json [run.json ...] soak.json page.md``.

Writes the summary of all the runs together into soak.json, with a picture beside it, and the page.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

HEAD = """\
# Random problems

{commands}
draws problems of all sizes, solves
them under random tolerances, methods and limits, and recomputes every certificate with
`tests/oracles/`, which shares no code with the package. Any claim that does not hold counts as
wrong; the run fails if there is one, or if memory grows. `--replay KIND:NUMBER` repeats one draw.
This page was written from its summary, [`soak.json`](soak.json), by `python -m tests.soak.page`.

"""

WHAT = """
## What is recomputed

From Z and b alone, grouped anew by count, weight, scale and offset:

- **Objective**: loss and bias penalty from the logits; the nuclear norm by a singular value
  decomposition up to 1,200 different counts, beyond that its lower bound <G, X> / ||G||_2. The
  reported objective may not be below the value, and not above it by more than 1e-8 of it and half
  the gap (beyond 64 different counts it may be an upper bound).
- **Dual bound**: a feasible point is built from the predictions, as they are and after moving
  probability so that the bias equation holds exactly, scaled by the operator norm of the
  gradient. The norm is exact up to 500 different counts; up to 4,000 an upper bound is proved by a
  Cholesky factorisation. The reported lower bound may not exceed the value of that point. Without
  a bias penalty, where moving probability costs digits, up to 64 classes have a second opinion in
  extended precision.
- Beyond 4,000 different counts the norm is only probed, by block power iteration from 12 random
  vectors, which bounds it from below: a wrong claim larger than 1e-6 would be noticed if it showed
  there, smaller ones might not. The column *proved* counts the others.
- **Status** is `CONVERGED` exactly where the gap is at most the tolerance; time limits and
  interruptions are reported only where they were asked for; nothing is NaN or infinite.
- **Verdicts**: clusters are merged exactly above their thresholds, and columns and entries agree
  with the blocks that were checked.
- For nonnegative features the largest |G a| over a >= 0 is found by looking at all supports (up to
  8 classes). For `layer_peeled` the objective and the constraint are recomputed, and no lower bound
  may exceed that objective.

`tests/test_soak.py` changes solutions in every such way and sees that each change is noticed.
"""


ALLOCATOR = (
    " The allocator is told to give freed memory back to the system (`mallopt`): by itself glibc "
    "keeps up to 64 MiB of it on top of each thread's heap, which looks like growth and is none."
)
_LARGEST = ("most_classes", "most_clusters", "worst_objective_below", "worst_dual_above")


def combine(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several runs: sums, largest differences, the memory that grew most."""
    worst = max(summaries, key=lambda one: one["memory"]["growth_after_warm_up_MiB"])
    kinds: dict[str, dict[str, Any]] = {}
    for name in summaries[0]["kinds"]:
        parts = [one["kinds"][name] for one in summaries if name in one["kinds"]]
        kinds[name] = {
            "about": parts[0]["about"],
            **{key: sum(part[key] for part in parts) for key in ("checked", "wrong")},
            **{key: _added(part[key] for part in parts) for key in ("status", "proof")},
            **{key: _most(part[key] for part in parts) for key in _LARGEST},
        }
    return {
        "seconds": worst["seconds"],
        "runs": [{"seed": one["seed"], "seconds": one["seconds"]} for one in summaries],
        "checked": sum(one["checked"] for one in summaries),
        "wrong": sum(one["wrong"] for one in summaries),
        "kinds": kinds,
        "faults": [fault for one in summaries for fault in one["faults"]],
        "memory": worst["memory"],
        "versions": summaries[0]["versions"],
    }


def still_wrong(summaries: list[dict[str, Any]]) -> int:
    """How many of the faults the judge, as it is now, finds again in the same draws."""
    from soak.__main__ import run_case

    found = 0
    for summary in summaries:
        for fault in summary["faults"]:
            name, _, number = fault["replay"].rpartition(":")
            results = run_case(name, summary["seed"], int(number))
            found += any(result.faults for result in results)
    return found


def _verdict(summary: dict[str, Any]) -> str:
    wrong = f"{summary['wrong']} wrong"
    if not summary["wrong"]:
        return wrong
    return (
        f"{summary['wrong']} called wrong during the run, {summary['still_wrong']} when drawn "
        "and judged again by the judge as it is now"
    )


def _added(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _most(values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def page(summary: dict[str, Any]) -> str:
    """The page as Markdown."""
    memory, versions, runs = summary["memory"], summary["versions"], summary["runs"]
    commands = [
        f"`python -m tests.soak --minutes {run['seconds'] / 60:.0f} --seed {run['seed']} "
        "--out run.json`"
        for run in runs
    ]
    minutes = " and ".join(f"{run['seconds'] / 60:.0f}" for run in runs)
    where = "one core" if len(runs) == 1 else f"{len(runs)} processes side by side, two cores"
    lines = [
        HEAD.format(commands=",\n".join(commands)),
        f"**{summary['checked']:,} certificates recomputed in {minutes} minutes "
        f"({where} of a busy machine), {_verdict(summary)}.** Resident memory"
        f"{' of the process that grew most' if len(runs) > 1 else ''} was "
        f"{memory['warm_MiB']:.0f} MiB after the first fifth of the run and "
        f"{memory['end_MiB']:.0f} MiB at its end; its trend in between, the median slope over "
        f"pairs of samples, amounts to {memory['growth_after_warm_up_MiB']:+.1f} MiB "
        f"({'' if memory['flat'] else 'not '}flat: at most {memory['allowed_growth_MiB']:.0f} are "
        f"allowed). The most at any time, "
        f"with the oracle's own matrices, was {memory['most_MiB']:,.0f} MiB."
        f"{ALLOCATOR if memory.get('freed_memory_given_back') else ''}",
        "",
        "![Statuses by kind, and memory over time](images/soak.png)",
        "",
        "| kind | what | checked | converged | other ends | proved | largest K | largest C "
        "| wrong |",
        "|---|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for name, kind in summary["kinds"].items():
        status = dict(kind["status"])
        converged = status.pop("CONVERGED", 0)
        others = ", ".join(f"{n} {word}" for word, n in sorted(status.items())) or "none"
        proved = sum(n for proof, n in kind["proof"].items() if proof.startswith("proved"))
        lines.append(
            f"| {name} | {kind['about']} | {kind['checked']:,} | {converged:,} | {others} "
            f"| {proved:,} | {kind['most_classes']:,} | {kind['most_clusters']:,} "
            f"| {kind['wrong']} |"
        )
    lines += ["", "Largest differences, relative to the value recomputed:", ""]
    lines += ["| kind | objective below the value | dual bound above that of the point |"]
    lines += ["|---|---:|---:|"]
    for name, kind in summary["kinds"].items():
        lines.append(
            f"| {name} | {_number(kind['worst_objective_below'])} "
            f"| {_number(kind['worst_dual_above'])} |"
        )
    lines += [
        "",
        "A positive difference within rounding (of tiny objectives, or of a tiny bias penalty) is "
        "allowed for; `tests/soak/check.py` says how much. Beyond 500 different counts the bound "
        "recomputed is itself a little too low, and beyond 4,000 the values are estimates, which "
        "is what the row *many sizes* shows.",
        WHAT,
        f"ufm {versions['ufm']} ({versions['commit']}), Python {versions['python']}, "
        f"numpy {versions['numpy']}, scipy {versions['scipy']}.",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{max(value, 0.0):.1e}" if value > 0 else "0"


if __name__ == "__main__":
    *sources, together, target = map(Path, sys.argv[1:])
    runs = [json.loads(source.read_text()) for source in sources]
    whole = combine(runs) | {"still_wrong": still_wrong(runs)}
    together.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    target.write_text(page(whole), encoding="utf-8")
    from soak.picture import draw

    draw(whole, target.parent / "images" / "soak.png")
