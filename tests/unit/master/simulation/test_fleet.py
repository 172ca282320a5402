"""A fleet in virtual time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest

from tunefleet.study.space import Configuration
from tunefleet_master.simulation.fleet import Fleet, Limit, Measurement
from tunefleet_master.simulation.training_run import TrainingRun
from tunefleet_master.simulation.tuner import Assignment, Directive, Tuner


@dataclass
class Scripted(Tuner):
    """A tuner with numbered trials and scripted answers, which records what it knew at each proposal."""

    directives: dict[tuple[int, int], Directive] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)
    known_at: list[tuple[int, ...]] = field(default_factory=list)

    def assign(self, *, may_begin: bool) -> Assignment | None:
        if self.paused:
            return Assignment(self.paused.pop(), {})
        if not may_begin:
            return None
        self.known_at.append(tuple(self.ended))
        number = len(self.known_at) - 1
        return Assignment(number, {"number": number})

    def report(self, trial: int, step: int, *, value: float) -> Directive:
        directive = self.directives.get((trial, step), Directive.CONTINUE)
        if directive is Directive.PAUSE:
            self.paused.append(trial)
        return directive

    def end(self, trial: int, step: int, *, value: float) -> None:
        self.ended.append(trial)


def lasting(*durations_s: float) -> Fleet:
    """Two workers; trial i takes the i-th duration and ends with minus its number."""

    def train(configuration: Configuration) -> TrainingRun:
        number = configuration["number"]
        assert isinstance(number, int)
        return TrainingRun((-float(number),), (durations_s[number],))

    return Fleet(Scripted(), train, 2)


def curves(tuner: Scripted, *, n_workers: int = 1, n_steps: int = 3) -> Fleet:
    """Every step takes a second; the value after step s is s."""
    values = tuple(float(step) for step in range(1, n_steps + 1))
    return Fleet(tuner, lambda _: TrainingRun(values, values), n_workers)


def as_tuples(measurements: list[Measurement]) -> list[tuple[float, int, int]]:
    return [(measurement.at_s, measurement.trial, measurement.step) for measurement in measurements]


def test_a_worker_that_is_free_is_given_the_next_trial_at_once() -> None:
    measurements = list(lasting(5, 1, 1, 1).run(Limit(trials=4)))
    assert as_tuples(measurements) == [(1, 1, 1), (2, 2, 1), (3, 3, 1), (5, 0, 1)]


def test_nothing_is_known_of_a_trial_before_it_has_ended() -> None:
    fleet = lasting(5, 1, 1, 1)
    list(fleet.run(Limit(trials=4)))
    assert isinstance(fleet.tuner, Scripted)
    assert fleet.tuner.known_at == [(), (), (1,), (1, 2)]


def test_of_two_that_end_together_the_one_that_was_begun_first_reports_first() -> None:
    assert [measurement.trial for measurement in lasting(2, 2, 2, 2).run(Limit(trials=4))] == [0, 1, 2, 3]


def test_the_best_value_so_far_is_in_the_users_own_sense() -> None:
    fleet = lasting(1, 2, 3)
    assert [measurement.best for measurement in fleet.run(Limit(trials=3))] == [0, -1, -2]
    maximised = Fleet(Scripted(), lasting(1, 2, 3).train, 2, sign=-1.0)
    assert [measurement.best for measurement in maximised.run(Limit(trials=3))] == [0, 0, 0]


def test_a_value_that_is_no_number_is_never_the_best() -> None:
    fleet = Fleet(Scripted(), lambda _: TrainingRun((math.nan, 2.0), (1.0, 2.0)), 1)
    assert [measurement.best for measurement in fleet.run(Limit(trials=1))] == [math.inf, 2.0]


def test_a_stopped_trial_leaves_its_worker_free() -> None:
    tuner = Scripted({(0, 1): Directive.STOP})
    assert as_tuples(list(curves(tuner).run(Limit(trials=2)))) == [(1, 0, 1), (2, 1, 1), (3, 1, 2), (4, 1, 3)]
    assert tuner.ended == [1]


def test_a_paused_trial_continues_from_its_last_report() -> None:
    tuner = Scripted({(0, 2): Directive.PAUSE})
    measurements = list(curves(tuner).run(Limit(trials=1)))
    assert as_tuples(measurements) == [(1, 0, 1), (2, 0, 2), (3, 0, 3)]
    assert [measurement.n_ended for measurement in measurements] == [0, 0, 1]


def test_a_limit_of_work_ends_trainings_at_their_next_report() -> None:
    measurements = list(curves(Scripted(), n_workers=2).run(Limit(work_s=3)))
    assert [measurement.work_s for measurement in measurements] == [1, 2, 3, 4]
    assert max(measurement.at_s for measurement in measurements) == 2


def test_work_is_counted_over_all_workers() -> None:
    *_, last = curves(Scripted(), n_workers=4).run(Limit(trials=8))
    assert (last.at_s, last.work_s) == (6, 24)


@pytest.mark.parametrize(
    ("values", "ends_s", "steps"),
    [
        ((), (), ()),
        ((1.0,), (1.0, 2.0), ()),
        ((1.0, 2.0), (2.0, 1.0), ()),
        ((1.0,), (0.0,), ()),
        ((1.0,), (1.0,), (0,)),
    ],
)
def test_a_run_without_reports_or_with_times_that_do_not_rise_is_refused(
    values: tuple[float, ...], ends_s: tuple[float, ...], steps: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="times"):
        TrainingRun(values, ends_s, steps)


def test_a_trainings_steps_are_counted_from_one_unless_they_are_given() -> None:
    assert TrainingRun((1.0, 2.0), (1.0, 2.0)).steps == (1, 2)
    training = TrainingRun((1.0, 2.0), (5.0, 12.0), (5, 10))
    assert [training.part_s(index) for index in range(2)] == [5.0, 7.0]
    fleet = Fleet(Scripted(), lambda _: training, 1)
    assert [measurement.step for measurement in itertools.islice(fleet.run(Limit(trials=1)), 2)] == [5, 10]
