"""The doctor finds every violation of an invariant, and none in a sound database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.commands import tunefleet, tunefleet_master
from tests.faults.scripted import Script, crew, study_of
from tests.fleet import WarmFleet

from tunefleet.client.artifacts import upload
from tunefleet.protocol import ClaimRequest, ClaimResponse, StudyState, WorkerFacts
from tunefleet_master.commands import doctor
from tunefleet_master.settings import Settings

N_TRIALS = 6

# A statement that breaks storage -> the violated invariant, and words of the violation.
BREAKS = {
    "DELETE FROM trials WHERE number = 3": ("I2", "were created"),
    "UPDATE trials SET state = 'waiting', finished_at = NULL WHERE number = 0": ("I2", "in a study that has ended"),
    "UPDATE attempts SET outcome = 'lost' WHERE trial_id = 1": ("I1", "0 complete attempts"),
    "DELETE FROM events WHERE kind = 'trial.complete' AND trial = 2": ("I1", "0 completion events"),
    "INSERT INTO events (study_id, kind, trial, at, data) VALUES (1, 'trial.complete', 2, 0, '{}')": (
        "I1",
        "2 completion events",
    ),
    "UPDATE trials SET attempt = 2 WHERE number = 1": ("I3", "1 recorded attempts"),
    "UPDATE reports SET attempt = 9 WHERE trial_id = 2": ("I3", "which does not exist"),
    "UPDATE studies SET budget_trials = 5": ("I4", "its budget is 5"),
    "UPDATE studies SET budget_trials = 7": ("I4", "its budget is 7"),
    "DELETE FROM reports WHERE trial_id = 4 AND step = 1": ("I5", "step 1 was acknowledged and is missing"),
    "UPDATE reports SET metrics = '{\"loss\":0.0}' WHERE trial_id = 4": ("I5", "has other metrics"),
    "UPDATE attempts SET worker = 'another' WHERE trial_id = 5": ("I5", "is another's"),
    "UPDATE attempts SET answer = NULL WHERE trial_id = 5": ("I5", "another answer"),
    'UPDATE trials SET params = \'{"x":0.5,"kind":"a"}\' WHERE number = 4': ("I6", "not the one that was hashed"),
    "UPDATE studies SET spec = replace(spec, '\"seed\": 7', '\"seed\": 8')": ("I6", "would now propose"),
    "UPDATE trials SET failures = '{\"error\":4}' WHERE number = 4": ("I8", "crashed 4 times"),
    "UPDATE blobs SET size_bytes = 1": ("I10", "has 4 bytes, and not 1"),
    "UPDATE trials SET lease_deadline = 1 WHERE number = 5": ("state", "is not running, but has a lease"),
    "UPDATE trials SET value = NULL WHERE number = 5": ("state", "complete without a value"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fleet that has ended, with a study and a file in its database."""
    fleet = WarmFleet(tmp_path_factory.mktemp("sound"))
    try:
        fleet.start_master()
        study = fleet.client.submit(study_of("study", N_TRIALS))
        with crew(fleet.url, 1, journal=fleet.journal, script=Script(batches=2)):
            fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the study is complete")
        with_file = fleet.client.submit(study_of("with-file", 1))
        claim = ClaimRequest(worker="w", wait_s=10, facts=WorkerFacts(allow_code=True))
        [lease] = fleet.client.transport.post("/claims", claim, answer=ClaimResponse).leases
        (fleet.folder / "file").write_bytes(b"data")
        upload(fleet.client.transport, fleet.folder / "file", "file", trial_id=lease.trial_id, attempt=lease.attempt)
        with_file.stop()
    finally:
        fleet.close()
    return fleet.folder


def options_of(folder: Path) -> list[str]:
    """The options that make the doctor check a fleet's folder."""
    return ["doctor", "--verify", "--json", f"--data={folder / 'master'}", f"--journal={folder / 'journal.jsonl'}"]


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    subprocess.run(["cp", "-a", f"{sound}/.", str(tmp_path)], check=True)
    return tmp_path


def checked(folder: Path) -> dict[str, list[str]]:
    """The violations by invariant."""
    found = doctor.checks(Settings.parse({"data": folder / "master"}), [folder / "journal.jsonl"])
    return {check.invariant: list(check.violations) for check in found}


def test_a_sound_database_has_no_violation_and_exit_code_0(sound: Path) -> None:
    command = [sys.executable, "-m", "tunefleet", *options_of(sound)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(answer.stdout)
    assert (answer.returncode, found["violations"]) == (0, 0)
    n_checked = {check["invariant"]: check["n_checked"] for check in found["checks"]}
    assert n_checked["I1"] == N_TRIALS + 1
    assert n_checked["I5"] > 3 * N_TRIALS
    assert n_checked["I10"] == 1


@pytest.mark.parametrize("statement", BREAKS)
def test_each_violation_is_found(statement: str, broken: Path) -> None:
    with sqlite3.connect(broken / "master" / "tunefleet.db") as database:
        assert database.execute(statement).rowcount > 0
    database.close()
    invariant, says = BREAKS[statement]
    found = checked(broken)
    assert says in "\n".join(found[invariant]), found


def test_thinned_reports_are_no_violation(broken: Path) -> None:
    with sqlite3.connect(broken / "master" / "tunefleet.db") as database:
        database.execute("DELETE FROM reports WHERE trial_id = 4 AND step = 1")
        database.execute("UPDATE studies SET n_thinned = 4 WHERE id = 1")
    database.close()
    assert checked(broken)["I5"] == []


def test_a_truncated_file_is_found(broken: Path) -> None:
    [blob] = (path for path in (broken / "master" / "artifacts").glob("??/*") if path.parent.name != "partial")
    blob.write_bytes(b"dat")
    assert checked(broken)["I10"] == ["study with-file, trial 0: the file file has 3 bytes, and not 4"]
    blob.write_bytes(b"dada")
    assert "has the sha256" in checked(broken)["I10"][0]
    blob.unlink()
    assert "is not in the store" in checked(broken)["I10"][0]


def test_a_violation_gives_exit_code_1_and_a_missing_database_2(broken: Path, tmp_path: Path) -> None:
    with (broken / "journal.jsonl").open("a") as journal:
        entry = {"method": "POST", "path": "/studies", "query": {}, "request": {}, "answer": {"name": "gone"}}
        journal.write(json.dumps({**entry, "sent_s": 0, "answered_s": 0, "clock": "c", "at": 0}) + "\n")
    answer = tunefleet_master(*options_of(broken))
    assert (answer.returncode, json.loads(answer.stdout)["violations"]) == (1, 1)
    nothing = tunefleet_master("doctor", "--verify", f"--data={tmp_path / 'nowhere'}")
    assert nothing.returncode == 2
    assert "there is no database" in nothing.stderr


def test_an_accepted_write_of_a_stale_attempt_is_found_in_the_journal(broken: Path) -> None:
    entries = [json.loads(line) for line in (broken / "journal.jsonl").read_text().splitlines()]
    claim = next(entry for entry in entries if entry["path"] == "/claims" and entry["answer"]["leases"])
    lease = claim["answer"]["leases"][0]
    newer = {**claim, "answer": {**claim["answer"], "leases": [{**lease, "attempt": lease["attempt"] + 1}]}}
    with (broken / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(newer) + "\n")
    stale = checked(broken)["I3"]
    assert [text.partition(": ")[2] for text in stale] == [
        "reports of attempt 1 was accepted after a newer attempt had begun",
        "reports of attempt 1 was accepted after a newer attempt had begun",
    ]


def test_the_doctor_checks_this_machine_against_the_master(new_fleet: Any) -> None:
    fleet = new_fleet()
    fleet.start_master()
    answer = tunefleet("doctor", "--json", "--url", fleet.url)
    found = json.loads(answer.stdout)
    assert found["master"] == fleet.url
    assert found["master_version"] == found["version"]
    assert abs(found["clock_ahead_s"]) < 60
