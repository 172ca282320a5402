"""`tunefleet-master replay`: every proposal of a study, repeated and compared."""

from __future__ import annotations

import sys

from tunefleet.cli import output
from tunefleet_master.commands.doctor import opened
from tunefleet_master.services.audit.replay import Replay, replay
from tunefleet_master.settings import Settings
from tunefleet_master.storage import studies

MAX_SHOWN = 20


def replayed(settings: Settings, name: str) -> Replay:
    """Replay a study; a master may run meanwhile.

    Raises:
        NotFound: there is no database, or no such study. StorageUnusable: the database is unreadable.
    """
    with opened(settings) as database:
        return database.read(lambda uow: replay(uow, studies.get(uow.connection, name), progress=_progress))


def show(found: Replay, name: str, *, as_json: bool) -> bool:
    """Print the result; return True if all proposals are equal."""
    if as_json:
        output.print_json(
            {
                "study": name,
                "same": found.n_same,
                "by_hand": found.n_by_hand,
                "differing": list(found.differing),
                "skipped": list(found.skipped),
            }
        )
        return not found.differing
    for sentence in [*found.differing[:MAX_SHOWN], *found.skipped]:
        output.print_message(sentence)
    by_hand = f"; users requested {found.n_by_hand} more" if found.n_by_hand else ""
    output.print_message(f"{found.n_same} proposals are the same, {len(found.differing)} differ{by_hand}.")
    return not found.differing


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)
