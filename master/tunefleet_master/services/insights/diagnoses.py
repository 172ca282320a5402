"""Input of the diagnosis rules, read from storage, and the findings of one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from tunefleet.errors import NotFound
from tunefleet.names import TrialId
from tunefleet.protocol import Point, TrialFindings, TrialState
from tunefleet.protocol.findings import FindingView
from tunefleet.protocol.telemetry import Telemetry
from tunefleet_master.diagnosis.reported import MAX_CURVES, MAX_RESULTS, Reported
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.findings import lacking, trial_findings
from tunefleet_master.services.insights import telemetry
from tunefleet_master.storage import reports, studies, trial_pages
from tunefleet_master.storage import trials as stored
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.trial_pages import TrialQuery
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

MAX_POINTS = 10_000  # of a curve; a longer one is thinned evenly


async def read(database: Database, blobs: BlobStore, *, trial_id: TrialId) -> TrialFindings:
    """Return the findings of a trial from its curves and its telemetry, in a few milliseconds; raises NotFound."""
    watched: Telemetry | None = None
    with suppress(NotFound):  # there is no telemetry; a missing trial raises below
        watched = await telemetry.read(database, blobs, trial_id=trial_id)
    return await database.aread(lambda uow: of_trial(uow, trial_id, watched=watched))


def _typical_ratios(telemetry: Telemetry) -> dict[str, float]:
    """Return the update-to-weight ratio of each weight tensor in the second and the third epoch."""
    typical = {tensor.name: telemetry.typical(tensor.update_ratio) for tensor in telemetry.weights}
    return {name: ratio for name, ratio in typical.items() if ratio is not None}


def of_trial(uow: UnitOfWork, trial_id: TrialId, *, watched: Telemetry | None) -> TrialFindings:
    """Return the findings of a trial, given its telemetry; raises NotFound."""
    trial = stored.get(uow.connection, trial_id)
    study = studies.by_id(uow.connection, trial.study_id)
    points = reports.curve(uow.connection, trial.id, max_points=MAX_POINTS)
    ratios = None if watched is None else _typical_ratios(watched)
    curve = curve_of(study, trial, points=points, update_ratios=ratios)
    return TrialFindings(
        study=study.name,
        number=trial.number,
        n_reports=len(points),
        findings=[FindingView(**asdict(finding)) for finding in trial_findings(curve)],
        unknown=lacking(curve),
    )


def of_study(uow: UnitOfWork, study: Study) -> Reported:
    """Return the curves of the best complete trials, and the metrics of the newest MAX_RESULTS complete trials."""
    newest_first = TrialQuery(TrialState.COMPLETE, descending=True, limit=MAX_RESULTS)
    best = trial_pages.page(uow.connection, study, trial_pages.best_first(study, limit=MAX_CURVES))[0]
    newest = trial_pages.page(uow.connection, study, newest_first)[0]
    curves = reports.curves(uow.connection, [trial.id for trial in best])
    return Reported(
        best={
            trial.number: curve_of(study, trial, points=reports.evenly(curves[trial.id], MAX_POINTS)) for trial in best
        },
        results={trial.number: dict(trial.metrics) for trial in newest},
    )


def curve_of(
    study: Study, trial: Trial, *, points: Sequence[Point], update_ratios: Mapping[str, float] | None = None
) -> TrialCurve:
    """Return a trial as input of the rules."""
    objective = study.spec.objective
    return TrialCurve(
        points=[(point.step, point.metrics) for point in points],
        metric=objective.metric,
        maximised=objective.goal == "maximize",
        steps=study.spec.steps,
        # A segment of a population is not a whole training: its best step is usually its last.
        is_whole=trial.state is TrialState.COMPLETE and trial.member is None,
        params=trial.params,
        update_ratios=update_ratios or {},
    )
