"""Detection rates of the doctor: trainings with a planted fault, and healthy ones beside them.

Sixteen faults, five seeds each, and forty healthy trainings, of small networks on eight data sets. Thresholds were set
on the development part, mnist1d and made-up waves with two architectures; the heldout part is digits and Fashion-MNIST
(14 x 14) with two others, the fresh part made-up chirps and shapes with two more, the last part pulses and gratings
with two more yet. Printed for each fault: how often any alarm was raised, and one that names it; for each rule: how
often it alarms where it should and among healthy runs. An alarm is a finding that is a warning or graver. The intervals
are Wilson's of 95 %.

Fashion-MNIST is read as the built-in tasks read it (apt-get install dataset-fashion-mnist, or TUNEFLEET_DATA).

python benchmarks/clinic.py [--quick] [--part heldout|fresh|last|development] [--seeds N] [--first-seed N] [--jobs N]
    [--cache FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fault_cases.fault_case import Part, healthy, sick
from benchmarks.fault_cases.faults import FAULTS
from benchmarks.fault_cases.figures import Diagnosis, Share, diagnosed, fault_figures, overall, rule_figures
from benchmarks.fault_cases.runner import run_cases

from tunefleet_worker.tasks.datasets.mnist1d import cache_folder
from tunefleet_worker.tasks.datasets.source import DataUnavailable

MIN_DETECTED, MAX_FALSE_ALARMS = 0.9, 0.05
SEEDS, QUICK_SEEDS = 5, 1


def examined(part: Part, *, seeds: range, folder: Path, jobs: int) -> list[Diagnosis]:
    """Train every case of a part that is not in the cache, and diagnose it."""
    cases = [*healthy(part, seeds), *sick(part, tuple(FAULTS), seeds=seeds)]
    return [diagnosed(record) for record in run_cases(cases, folder, jobs=jobs)]


def printed(found: Sequence[Diagnosis]) -> None:
    """Print tables."""
    print(f"{'fault':30} {'any alarm':24} {'named':24} by")
    for row in fault_figures(found):
        said = ", ".join(f"{code} {n}" for code, n in sorted(row.said.items(), key=lambda item: -item[1]))
        print(f"{row.fault:30} {row.detected!s:24} {row.named!s:24} {said}")
    print(f"\n{'rule':28} {'detects what it should':24} {'false alarms':24} {'notes on healthy':24}")
    for rule in rule_figures(found):
        print(f"{rule.code:28} {rule.detected!s:24} {rule.false_alarms!s:24} {rule.notes!s:24}")
    detected, alarmed = overall(found)
    print(f"\nsick runs with an alarm: {detected} {_verdict(detected.n >= MIN_DETECTED * detected.of)}")
    print(f"healthy runs with one: {alarmed} {_verdict(alarmed.n <= MAX_FALSE_ALARMS * alarmed.of)}")
    print(f"CPU of all trainings: {sum(each.record.cpu_s for each in found) / 60:.1f} min")


def plain(found: Sequence[Diagnosis]) -> dict[str, Any]:
    """Return the figures as plain data."""
    detected, alarmed = overall(found)
    return {
        "detected": _plain(detected),
        "false_alarms": _plain(alarmed),
        "faults": {
            row.fault: {"detected": _plain(row.detected), "named": _plain(row.named), "said": row.said}
            for row in fault_figures(found)
        },
        "rules": {
            row.code: {
                "faults": row.faults,
                "detected": _plain(row.detected),
                "false_alarms": _plain(row.false_alarms),
                "notes": _plain(row.notes),
            }
            for row in rule_figures(found)
        },
        "runs": {each.record.case.key: [finding.code for finding in each.findings] for each in found},
        "cpu_s": sum(each.record.cpu_s for each in found),
    }


def _verdict(ok: bool) -> str:
    return "ok" if ok else "FALLS SHORT"


def _plain(share: Share) -> dict[str, Any]:
    return {"n": share.n, "of": share.of, "interval": share.interval}


def main() -> None:
    """Train, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["development", "heldout", "fresh", "last"], default="heldout")
    parser.add_argument("--quick", action="store_true", help="one seed of each fault")
    parser.add_argument("--seeds", type=int, help="of each fault, 5 unless given; two healthy runs for each")
    parser.add_argument("--first-seed", type=int, default=0, help="another one gives trainings that nobody has seen")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, of one thread each")
    parser.add_argument("--cache", type=Path, default=cache_folder(os.environ) / "clinic", help="of finished trainings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n_seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    seeds = range(options.first_seed, options.first_seed + n_seeds)
    try:
        found = examined(options.part, seeds=seeds, folder=options.cache, jobs=options.jobs)
    except DataUnavailable as error:
        print(f"not measured: {error}", file=sys.stderr)
        return
    if options.json:
        print(json.dumps(plain(found), indent=2))
    else:
        printed(found)


if __name__ == "__main__":
    main()
