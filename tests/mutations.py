"""The promises that `make mutants` breaks one at a time, each by changing a few words of the sources."""

from __future__ import annotations

from dataclasses import dataclass

STORAGE = "master/tunefleet_master/storage"
SERVICES = "master/tunefleet_master/services"


@dataclass(frozen=True)
class Change:
    """Words of a file that stand there once, and what takes their place."""

    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The changed file; raises LookupError when the words do not stand there exactly once."""
        if text.count(self.old) != 1:
            raise LookupError(f"{self.file} holds {text.count(self.old)} times: {self.old}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    """A promise broken on purpose, and the tests of the fast tier of which one must notice."""

    what: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "an old attempt may write",
        (
            Change(
                f"{STORAGE}/leases.py",
                'tuple_(_T.c.id, _T.c.attempt).in_(bindparam("fences", expanding=True))',
                '_T.c.id.in_(bindparam("fences", expanding=True))',
            ),
            Change(f"{STORAGE}/leases.py", '{"fences": list(fences)}', '{"fences": [fence[0] for fence in fences]}'),
            Change(
                f"{STORAGE}/leases.py",
                "{(trial.id, trial.attempt): trial for trial in trials}",
                "{fence: trial for fence in fences for trial in trials if trial.id == fence[0]}",
            ),
        ),
        ("tests/contracts/test_leases.py::test_every_write_of_a_stale_attempt_is_refused_and_changes_nothing",),
    ),
    Mutation(
        "a repeated report is stored again",
        (
            Change(
                f"{STORAGE}/migrations/versions/0001_first_tables.py",
                'PrimaryKeyConstraint("trial_id", "attempt", "step", name',
                'PrimaryKeyConstraint("trial_id", "attempt", "step", "number", name',
            ),
            Change(
                f"{STORAGE}/reports.py",
                "index_elements=[_R.c.trial_id, _R.c.attempt, _R.c.step]",
                "index_elements=[_R.c.trial_id, _R.c.attempt, _R.c.step, _R.c.number]",
            ),
            Change(
                f"{STORAGE}/reports.py",
                "ON CONFLICT (trial_id, attempt, step) DO",
                "ON CONFLICT (trial_id, attempt, step, number) DO",
            ),
        ),
        ("tests/contracts/test_reports.py::test_a_step_that_is_reported_many_times_is_one_row",),
    ),
    Mutation(
        "an older report replaces a newer one",
        (
            Change(f"{STORAGE}/reports.py", "where=_new.excluded.number > _R.c.number", "where=None"),
            Change(f"{STORAGE}/reports.py", "WHERE excluded.number > reports.number", ""),
        ),
        ("tests/contracts/test_reports.py::test_a_report_of_a_lower_number_changes_nothing",),
    ),
    Mutation(
        "SQLite's FULL is OFF",
        (Change(f"{STORAGE}/engine.py", '"synchronous=FULL"', '"synchronous=OFF"'),),
        (
            "tests/integration/test_syncs.py::test_sqlite_syncs_its_log_before_each_answer",
            "tests/contracts/test_durability.py::test_the_connections_that_write_wait_for_the_disk",
        ),
    ),
    Mutation(
        "SQLite's FULL is NORMAL",
        (Change(f"{STORAGE}/engine.py", '"synchronous=FULL"', '"synchronous=NORMAL"'),),
        (
            "tests/integration/test_syncs.py::test_sqlite_syncs_its_log_before_each_answer",
            "tests/contracts/test_durability.py::test_the_connections_that_write_wait_for_the_disk",
        ),
    ),
    Mutation(
        "Postgres commits without waiting for the disk",
        (Change(f"{STORAGE}/engine.py", '"jit": "off",', '"jit": "off", "synchronous_commit": "off",'),),
        ("tests/contracts/test_durability.py::test_the_connections_that_write_wait_for_the_disk",),
    ),
    Mutation(
        "no grace after an outage",
        (Change(f"{SERVICES}/execution/sweeper.py", "leases.extend_all(uow.connection, uow.deadline)", "pass"),),
        ("tests/contracts/test_leases.py::test_an_outage_of_the_master_expires_no_lease",),
    ),
    Mutation(
        "bodies of any length",
        (
            Change("master/tunefleet_master/api/limits.py", "int(declared) > limit", "int(declared) < 0"),
            Change("master/tunefleet_master/api/limits.py", "if count > limit:", "if count < 0:"),
        ),
        ("tests/integration/test_api_problems.py::test_a_body_over_the_limit_is_refused",),
    ),
    Mutation(
        "answered before the commit",
        (
            Change(
                f"{STORAGE}/group_commit.py",
                "units = self._prepare(connection, requests)",
                "units = self._prepare(connection, requests); resolve([each for each in requests if not each.redo])",
            ),
        ),
        ("tests/contracts/test_durability.py::test_no_request_is_answered_before_the_commit",),
    ),
    Mutation(
        "two masters may claim one trial",
        (
            Change(f"{STORAGE}/leases.py", ".with_for_update(skip_locked=True)", ""),
            Change(
                f"{STORAGE}/leases.py",
                ".where(_T.c.id.in_(select(_queue.c.id)), _T.c.state == TrialState.WAITING)",
                ".where(_T.c.id.in_(select(_queue.c.id)))",
            ),
        ),
        ("tests/contracts/test_replicas.py::test_three_masters_give_out_a_budget_exactly_and_the_study_ends",),
    ),
    Mutation(
        "several masters plan one study",
        (
            Change(
                f"{STORAGE}/locks.py",
                'if session.execute(_LOCK, {"kind": STUDIES, "study_id": study_id}).scalar_one():',
                "if True:",
            ),
        ),
        ("tests/contracts/test_replicas.py::test_one_master_plans_a_study_until_it_dies",),
    ),
    Mutation(
        "each master trusts its own clock",
        (
            Change(
                f"{STORAGE}/database.py",
                'if self.backend == "sqlite":\n            return utc_now()',
                "return utc_now()",
            ),
        ),
        ("tests/contracts/test_clocks.py::test_on_postgres_the_database_clock_decides",),
    ),
    Mutation(
        "a late result is refused",
        (
            Change(
                f"{STORAGE}/leases.py",
                "        _T.c.attempt_open,\n        _T.c.state.in_(LIVE),",
                "        _T.c.attempt_open,\n        _T.c.state == TrialState.RUNNING,",
            ),
        ),
        ("tests/contracts/test_leases.py::test_a_late_result_is_accepted_until_the_trial_is_claimed_again",),
    ),
    Mutation(
        "a claim that is repeated gives other trials",
        (Change(f"{SERVICES}/execution/claims.py", "given = _given_before(uow, requests)", "given = {}"),),
        ("tests/contracts/test_leases.py::test_a_claim_with_the_same_request_id_gives_the_same_lease_again",),
    ),
    Mutation(
        "any second ending gets the first answer",
        (
            Change(
                f"{SERVICES}/execution/completion.py",
                "if ending is not None and ending.request == _key(item.request):",
                "if ending is not None:",
            ),
        ),
        ("tests/contracts/test_leases.py::test_completing_twice_with_the_same_body_gives_the_first_answer",),
    ),
    Mutation(
        "a budget is not counted",
        (
            Change(
                f"{STORAGE}/studies.py", "n = n if study.trials_left is None else min(n, study.trials_left)", "pass"
            ),
            Change(f"{STORAGE}/studies.py", "StudyRow.budget_trials >= total", "StudyRow.budget_trials >= 0"),
        ),
        (
            "tests/contracts/test_replicas.py::test_concurrent_planning_and_enqueueing_respect_the_budget_without_duplicates",
            "tests/contracts/test_budgets.py::test_enqueue_refuses_duplicates_invalid_configurations_and_a_spent_budget_and_adds_nothing",
        ),
    ),
    Mutation(
        "a poison trial is tried for ever",
        (Change("master/tunefleet_master/lifecycle.py", "MAX_OWN_CRASHES = 3", "MAX_OWN_CRASHES = 300"),),
        ("tests/contracts/test_leases.py::test_a_trial_fails_after_three_crashes_whatever_its_retry_rules_allow",),
    ),
    Mutation(
        "files are stored unchecked",
        (Change(f"{STORAGE}/blobs.py", "if self._hash.hexdigest() != sha256:", "if not sha256:"),),
        ("tests/integration/test_api_files.py::test_content_with_another_hash_leaves_nothing",),
    ),
    Mutation(
        "a crash's text goes to the database as it came",
        (Change("shared/tunefleet/plain.py", 'return _UNSTORABLE.sub("\\ufffd", text)', "return text"),),
        ("tests/integration/test_bad_input.py::test_unstorable_text_of_a_crash_costs_no_result",),
    ),
    Mutation(
        "a bundle may unpack to any size",
        (Change("worker/tunefleet_worker/unpacking.py", "or total > limit", "or total < 0"),),
        ("tests/unit/worker/test_unpacking.py::test_a_bomb_of_zeros_is_refused_before_it_is_unpacked",),
    ),
)
