"""Queries on configurations with one trial per fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, update

from tunefleet.protocol import StopReason, TrialState
from tunefleet.study.folds import numbers_of
from tunefleet.study.space import Configuration
from tunefleet_master.lifecycle import check_transition
from tunefleet_master.storage.tables import IS_TRIAL, TrialRow
from tunefleet_master.storage.trials import selection
from tunefleet_master.storage.values import Study, Trial, trial_of

_is_complete = TrialRow.state == TrialState.COMPLETE
_mean = func.avg(case((_is_complete, TrialRow.value)))
_n_complete = func.sum(case((_is_complete, 1), else_=0))


def of_configurations(connection: Connection, study: Study, configurations: Collection[int]) -> dict[int, list[Trial]]:
    """The trials of each of these configurations, by fold; missing configurations are left out."""
    numbers = [number for each in configurations for number in numbers_of(study.spec, each)]
    query = selection().where(TrialRow.study_id == study.id, TrialRow.number.in_(numbers)).order_by(TrialRow.number)
    found: dict[int, list[Trial]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.number // study.folds].append(trial_of(row, row.study))
    return dict(found)


def best(connection: Connection, study: Study) -> list[Trial]:
    """The trials of the complete configuration with the best mean; empty if none is complete.

    Among equal means, the lower number wins.
    """
    found, _ = page(connection, study, offset=0, limit=1, only_complete=True)
    return found[0] if found else []


def page(
    connection: Connection, study: Study, *, offset: int, limit: int, only_complete: bool = False
) -> tuple[list[list[Trial]], int]:
    """Configurations as lists of their trials, complete ones with the best means first; and the total number."""
    configuration = _configuration(study)
    ascending = study.spec.objective.goal == "minimize"
    mean = case((_n_complete == study.folds, _mean))
    order = (mean.asc() if ascending else mean.desc()).nulls_last()
    query = select(configuration.label("c")).where(TrialRow.study_id == study.id, IS_TRIAL).group_by(configuration)
    if only_complete:
        query = query.where(_is_complete).having(_n_complete == study.folds)
    numbers = connection.execute(query.order_by(order, configuration).offset(offset).limit(limit)).scalars().all()
    found = of_configurations(connection, study, numbers)
    return [found[number] for number in numbers], study.n_configurations


def complete_params(connection: Connection, study: Study) -> list[Configuration]:
    """The parameters of the complete configurations, the best means first."""
    found, _ = page(connection, study, offset=0, limit=study.n_configurations, only_complete=True)
    return [of_folds[0].params for of_folds in found]


def drop(
    connection: Connection, study: Study, configuration: int, *, message: str, now: datetime
) -> tuple[list[Trial], int]:
    """Prune the waiting trials of a configuration, and stop its running ones.

    Returns the trials that waited, and the number of running trials that got their first stop order.
    """
    check_transition(TrialState.WAITING, TrialState.PRUNED)
    of_it = and_(TrialRow.study_id == study.id, TrialRow.number.in_(numbers_of(study.spec, configuration)))
    ended = {"state": TrialState.PRUNED, "message": message, "finished_at": now, "updated_at": now}
    waited = update(TrialRow).where(of_it, TrialRow.state == TrialState.WAITING).values(**ended)
    rows = connection.execute(waited.returning(*TrialRow.__table__.c)).all()
    stop = {"stop": StopReason.PRUNED, "stop_message": message, "updated_at": now}
    running = and_(of_it, TrialRow.state == TrialState.RUNNING, TrialRow.stop.is_(None))
    n_stopped = connection.execute(update(TrialRow).where(running).values(**stop)).rowcount
    return sorted((trial_of(row, study.name) for row in rows), key=lambda trial: trial.number), n_stopped


def last_untouched(connection: Connection, study: Study) -> list[Trial]:
    """The trials of the last proposed configuration of which no fold has ever run; empty if there is none.

    The rows are locked until the transaction ends.
    """
    configuration = _configuration(study)
    untouched = and_(
        TrialRow.study_id == study.id,
        TrialRow.state == TrialState.WAITING,
        TrialRow.attempt == 0,
        TrialRow.position.is_not(None),
    )
    whole = select(configuration.label("c")).where(untouched).group_by(configuration)
    last = whole.having(func.count() == study.folds).order_by(configuration.desc()).limit(1)
    number = connection.execute(last).scalar_one_or_none()
    if number is None:
        return []
    chosen = selection().where(untouched, TrialRow.number.in_(numbers_of(study.spec, number)))
    rows = connection.execute(chosen.order_by(TrialRow.id).with_for_update(of=TrialRow)).all()
    return [trial_of(row, row.study) for row in rows] if len(rows) == study.folds else []  # one was just claimed


def _configuration(study: Study) -> ColumnElement[Any]:
    return TrialRow.number // study.folds
