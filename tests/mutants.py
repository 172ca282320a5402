"""The tests of the tests: one promise after the other is broken in a copy of the sources, and a test must notice.

python -m tests.mutants                       every mutation, and a table; exit code 1 when one survives
python -m tests.mutants --only clock --into docs/mutants.md
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("shared", "master", "worker")
PYTEST = ("-m", "pytest", "-q", "-x", "-rf", "--no-header", "--tb=no", "-p", "no:cacheprovider")
WITHIN_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """What became of a mutation; `killed_by` is None when no test noticed it."""

    mutation: Mutation
    killed_by: str | None
    seconds: float


class Unclear(Exception):
    """The tests did not run, so that nothing can be said."""


def copy_sources(to: Path) -> None:
    """What git knows or would know of the repository, as it lies there."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def first_failure(tests: Sequence[str], sources: Path) -> str | None:
    """The first of the tests that fails with these sources, None when all pass.

    Raises:
        Unclear: they could not be run, or skipped all.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(sources / package) for package in PACKAGES)}
    environment.pop("CHAOS", None)
    done = subprocess.run(
        [sys.executable, *PYTEST, *tests],
        cwd=sources,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed is not None:
        return failed[1]
    if done.returncode == 0 and " passed" in done.stdout:
        return None
    raise Unclear(f"{' '.join(tests)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def judge(mutation: Mutation) -> Verdict:
    """Break the promise in a copy, and run the tests that must notice."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-mutant-") as name:
        copy_sources(Path(name))
        for change in mutation.changes:
            file = Path(name) / change.file
            file.write_text(change.apply(file.read_text()))
        began = time.monotonic()
        return Verdict(mutation, first_failure(mutation.tests, Path(name)), time.monotonic() - began)


def check_without_mutation(mutations: Sequence[Mutation]) -> None:
    """Raise Unclear when one of the tests fails with the sources as they are: then its failure shows nothing."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-mutant-") as name:
        copy_sources(Path(name))
        tests = sorted({test for mutation in mutations for test in mutation.tests})
        if (failed := first_failure(tests, Path(name))) is not None:
            raise Unclear(f"{failed} fails without any mutation")


def table(verdicts: Sequence[Verdict]) -> str:
    """What became of each mutation, as Markdown."""
    lines = ["| broken on purpose | noticed by | s |", "|---|---|---|"]
    for verdict in verdicts:
        noticed = "**nothing**" if verdict.killed_by is None else f"`{verdict.killed_by.removeprefix('tests/')}`"
        lines.append(f"| {verdict.mutation.what} | {noticed} | {verdict.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutations whose description holds this")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested at once")
    parser.add_argument("--into", type=Path, help="a page in which the table between the two marks is replaced")
    options = parser.parse_args(arguments)
    chosen = [mutation for mutation in MUTATIONS if options.only in mutation.what]
    check_without_mutation(chosen)
    with ThreadPoolExecutor(options.jobs) as threads:
        verdicts = list(threads.map(judge, chosen))
    print(table(verdicts))
    if options.into is not None:
        write_table(options.into, table(verdicts))
    return 1 if any(verdict.killed_by is None for verdict in verdicts) else 0


BEGIN, END = "<!-- mutants: begin -->\n", "<!-- mutants: end -->\n"


def write_table(page: Path, text: str) -> None:
    """Put the table between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
