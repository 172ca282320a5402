"""Preflights: checks of a study's training before it spends its budget.

A preflight is leased like a trial (`storage.preflights`); `transitions` applies its end to the study.
"""

from __future__ import annotations

from tunefleet.protocol import PreflightOrder, PreflightState, StudyState
from tunefleet.study.preflight_configurations import preflight_configurations
from tunefleet_master.storage import preflights, studies
from tunefleet_master.storage.subscriptions import CLAIMS, PLANNER
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

WAITING = "preflight.waiting"


def begin(uow: UnitOfWork, study: Study) -> None:
    """Queue the preflight of a new study."""
    preflights.add(uow.connection, study, now=uow.now)
    uow.record(study.id, WAITING, trial=None, data={})
    uow.notify_after_commit(CLAIMS)


def order_of(study: Study) -> PreflightOrder | None:
    """Return the instructions for the preflight's worker; None where the study has no preflight."""
    asked = study.spec.preflight
    if asked is None:
        return None
    return PreflightOrder(
        samples=asked.samples, updates=asked.updates, branches=preflight_configurations(study.searched)
    )


def resume(uow: UnitOfWork, study: Study, *, anyway: bool) -> Study:
    """Prepare a blocked study to run: queue its preflight again, or overrule it with `anyway`.

    With `anyway` a preflight that has not ended is cancelled, too. The report of one that has ended stays.
    """
    study = studies.lock(uow.connection, study.id)
    if anyway and study.preflight in (PreflightState.PENDING, PreflightState.BLOCKED):
        preflights.call_off(uow.connection, study, message="the study was let run without it", now=uow.now)
        new, report = PreflightState.OVERRULED, study.preflight_report
        studies.end_preflight(uow.connection, study.id, new, report=report, now=uow.now)
    elif not anyway and study.state is StudyState.BLOCKED:
        preflights.requeue(uow.connection, study, now=uow.now)
        studies.begin_preflight(uow.connection, study.id)
        uow.record(study.id, WAITING, trial=None, data={})
    for topic in (CLAIMS, PLANNER):
        uow.notify_after_commit(topic)
    return studies.by_id(uow.connection, study.id)
