"""Submission of studies."""

from __future__ import annotations

from tunefleet.errors import InvalidInput, NotFound, StudyExists
from tunefleet.rules.code import wire_problems
from tunefleet.rules.review import review
from tunefleet.study.recipes import starts
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import registry
from tunefleet_master.services.execution import preflight
from tunefleet_master.services.planning import warm_start
from tunefleet_master.services.planning.creation import create_first
from tunefleet_master.storage import artifacts, studies, trials
from tunefleet_master.storage.subscriptions import PLANNER
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, canonical


def submit(uow: UnitOfWork, spec: StudySpec) -> tuple[Study, bool]:
    """Store a new study as running, and return it with True; return the stored one with False for an equal spec.

    Raises:
        InvalidInput: the spec cannot be run; NotAvailableYet: this version cannot run it.
        StudyExists: the name belongs to a study with another spec.
        NotFound: the code bundle was not uploaded.
    """
    known = studies.find(uow.connection, spec.name)
    if known is not None:
        if canonical(known.spec) == canonical(spec):
            return known, False
        hint = "Choose another name, or remove the old study with `tunefleet rm`."
        raise StudyExists(f"a study named {spec.name!r} exists, with a different spec.", hint=hint)
    _check(uow, spec)
    priors = warm_start.priors(uow, spec)
    selection = registry.select(spec)
    study = studies.add(uow.connection, spec, sampler=selection.sampler, reason=selection.reason, now=uow.now)
    uow.record(study.id, "study.running", trial=None, data={})
    if spec.preflight is not None:
        preflight.begin(uow, study)
    first = [(start.params, f"{trials.RECIPE} {start.recipe}") for start in starts(spec)]
    first += [(params, trials.WARM_START) for params in warm_start.begin(uow, study, priors)]
    create_first(uow, study, first)
    uow.notify_after_commit(PLANNER)
    return study, True


def _check(uow: UnitOfWork, spec: StudySpec) -> None:
    review(spec).refuse()
    problems = [*wire_problems(spec), *registry.sampler_problems(spec)]
    if problems:
        raise InvalidInput(problems)
    if spec.bundle is not None and not artifacts.has_blob(uow.connection, spec.bundle):
        hint = "PUT the bundle to /api/v1/bundles/{sha256} first; `tunefleet submit` does."
        raise NotFound(f"the code bundle {spec.bundle[:12]}… was not uploaded.", hint=hint)
