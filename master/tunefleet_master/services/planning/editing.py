"""Edits of a study's space: each edit makes a new version, and each trial belongs to one version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

from pydantic import JsonValue

from tunefleet.catalogue.samplers import walks_grid
from tunefleet.errors import Conflict, InvalidInput, Problem
from tunefleet.model import did_you_mean
from tunefleet.protocol import TrialState
from tunefleet.study.folds import configuration_of, fold_of
from tunefleet.study.space import Configuration, Space, configuration_hash
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.services.execution.transitions import announce, announce_new
from tunefleet_master.services.planning import histories
from tunefleet_master.services.planning.creation import fold_identity
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.trials import Replacement
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

MAX_DRAWS = 1_000  # random configurations that are drawn for waiting trials outside the new space
MAX_NAMED = 5


def edit_space(uow: UnitOfWork, study: Study, changes: Mapping[str, JsonValue]) -> Study:
    """Give parameters of a study another range, other choices or a fixed value; return the changed study.

    Finished trials stay; samplers learn from those in the new space. Trials that wait outside it get another
    configuration.

    Raises:
        InvalidInput: there is no such parameter, or the new one is invalid.
        Conflict: trials run outside the new space.
    """
    spec = _edited(study.spec, changes)
    study = studies.lock(uow.connection, study.id)
    if spec.space == study.spec.space:
        return study
    live = trials.live(uow.connection, study)
    outside = [trial for trial in live if not _holds(spec.search_space, trial.params)]
    _refuse_running_outside(study, [trial for trial in outside if trial.state is TrialState.RUNNING])
    before = study
    position = (
        0 if walks_grid(study.sampler) else study.position
    )  # a new grid starts over; known configurations are skipped
    # A user's edit of a parameter overrides the box of the stage.
    box = json.dumps({name: value for name, value in json.loads(study.box).items() if name not in changes})
    studies.change_space(uow.connection, study.id, spec, box=box, version=study.version + 1, position=position)
    study = studies.by_id(uow.connection, study.id)
    spaces = {**histories.space_of(study.searched), "before": histories.space_of(before.searched)}
    data: dict[str, JsonValue] = {"version": study.version, **spaces}
    uow.record(study.id, histories.EDITED, trial=None, data=data)
    _replace(uow, study, [trial for trial in outside if trial.state is TrialState.WAITING])
    for topic in (PLANNER, events_of(study.name)):
        uow.notify_after_commit(topic)
    return studies.by_id(uow.connection, study.id)


def _edited(spec: StudySpec, changes: Mapping[str, JsonValue]) -> StudySpec:
    unknown = [name for name in changes if name not in spec.space]
    if unknown:
        raise InvalidInput(
            [
                Problem(f"space.{name}", f"is no parameter of the study{did_you_mean(name, list(spec.space))}")
                for name in unknown
            ],
            hint="A study keeps its parameters; with others it is another study, which can start from this one.",
        )
    plain = spec.to_json()
    space = plain["space"]
    assert isinstance(space, dict)
    return StudySpec.parse({**plain, "space": {**space, **changes}})


def _holds(space: Space, params: Configuration) -> bool:
    try:
        space.check(params)
    except InvalidInput:
        return False
    return True


def _refuse_running_outside(study: Study, running: list[Trial]) -> None:
    if not running:
        return
    named = ", ".join(str(trial.number) for trial in running[:MAX_NAMED]) + (", …" if len(running) > MAX_NAMED else "")
    raise Conflict(
        f"{len(running)} running trials of study {study.name!r} lie outside the new space: {named}.",
        hint=f"`tunefleet pause {study.name}`, wait until they have ended, edit, and `tunefleet resume {study.name}`; "
        "or choose a space that holds them.",
    )


def _replace(uow: UnitOfWork, study: Study, waiting: list[Trial]) -> None:
    """Give trials that have never run a configuration of the new space.

    Trials that a user added are cancelled. Segments are cancelled, too; their members continue in the new space.
    """
    drawn = _fresh(uow, study, at=study.position)
    position = study.position
    for _, group in groupby(waiting, key=lambda trial: configuration_of(study.spec, trial.number)):
        of_folds = list(group)
        found = next(drawn, None) if len(of_folds) == study.folds and all(map(_is_replaceable, of_folds)) else None
        if found is None:
            _cancel(uow, study, of_folds)
            continue
        position = found.position + 1
        for trial in of_folds:
            own = replace(found, config_hash=fold_identity(found.config_hash, fold_of(study.spec, trial.number)))
            trials.replace_waiting(uow.connection, trial, own, version=study.version, now=uow.now)
        announce_new(uow, study, {trial.number: found.params for trial in of_folds})
    studies.set_position(uow.connection, study.id, position=position, exhausted=False)


def _is_replaceable(trial: Trial) -> bool:
    return trial.attempt == 0 and trial.origin != trials.USER_ORIGIN and trial.member is None


def _cancel(uow: UnitOfWork, study: Study, waiting: list[Trial]) -> None:
    message = "its configuration no longer lies in the space of the study"
    for trial in waiting:
        trials.cancel(uow.connection, trial, message=message, now=uow.now)
        announce(uow, study, trial, state=TrialState.CANCELLED, message=message)


def _fresh(uow: UnitOfWork, study: Study, *, at: int) -> Iterator[Replacement]:
    """Yield random configurations of the study's space that no trial has."""
    sampler = RandomSampler(study.searched.search_space, seed=study.spec.search.seed)
    history = histories.empty(study.spec)
    for position in range(at, at + MAX_DRAWS):
        [params] = sampler.propose(position, 1, history=history)
        if params is None:
            continue
        config_hash = configuration_hash(params)
        if not trials.numbers_with(uow.connection, study.id, [config_hash]):
            yield Replacement(params, config_hash, position, sampler.name, sampler.version)
