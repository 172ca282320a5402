"""Studies with several objectives: the grammar and the rules."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.catalogue.samplers import SAMPLERS
from tunefleet.errors import InvalidInput
from tunefleet.rules.review import review
from tunefleet.study.objective import FrontObjective
from tunefleet.study.spec import FunctionRun, StudySpec
from tunefleet_master.search.registry import sampler_problems, select

ACCURACY, LATENCY = {"metric": "accuracy", "goal": "maximize"}, {"metric": "latency", "goal": "minimize"}
STUDY: dict[str, Any] = {
    "name": "s",
    "objectives": [ACCURACY, LATENCY],
    "run": {"function": "train:train"},
    "space": {"lr": {"log": [1e-4, 1.0]}},
    "steps": 9,
    "budget": {"trials": 20},
}
ONE = {key: value for key, value in STUDY.items() if key != "objectives"} | {"objective": ACCURACY}
FIRST_ONLY = ("tpe", "forest", "cmaes", "pbt")


def problems_of(**changes: Any) -> str:
    try:
        spec = StudySpec.parse({**STUDY, **changes})
        review(spec).refuse()
    except InvalidInput as error:
        return str(error)
    return "; ".join(map(str, sampler_problems(spec)))


def test_a_study_of_several_objectives_is_sound_and_the_same_again_as_plain_data() -> None:
    spec = StudySpec.parse({**STUDY, "outcomes": "params <= 1e6"})
    assert problems_of() == ""
    assert [objective.metric for objective in spec.objectives] == ["accuracy", "latency"]
    assert spec.objective == spec.objectives[0]
    assert spec.result_metrics == ("accuracy", "latency", "params")
    assert spec.to_json() == {**STUDY, "outcomes": ["params <= 1e6"]}
    assert StudySpec.parse(spec.to_json()) == spec
    assert StudySpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_a_study_of_one_objective_has_a_tuple_of_it() -> None:
    spec = StudySpec.parse(ONE)
    assert spec.objectives == (spec.objective,)
    assert spec.several_objectives == ()
    assert spec.to_json() == ONE


def test_one_can_be_written_in_python() -> None:
    spec = StudySpec(
        name="s",
        objectives=(FrontObjective(**ACCURACY), FrontObjective(**LATENCY)),  # type: ignore[arg-type]
        run=FunctionRun(function="train:train"),
        space=StudySpec.parse(ONE).space,
    )
    assert spec.objectives[1].metric == "latency"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": ACCURACY}, "has both; leave one out"),
        ({"objectives": []}, "objective: is required"),
        ({"objectives": [ACCURACY]}, "has only one objective; write it as `objective`"),
        ({"objectives": [ACCURACY, ACCURACY]}, "has the metric 'accuracy' twice"),
        ({"objectives": [{"metric": f"m{i}", "goal": "minimize"} for i in range(5)]}, "at most 4 items"),
        ({"objectives": [ACCURACY, {**LATENCY, "value": "best"}]}, "objectives.1.value = 'best': with several"),
        ({"objectives": [ACCURACY, {**LATENCY, "value": "first"}]}, "objectives.1.value = 'first'"),
        ({"objectives": [ACCURACY, {"metric": "latency"}]}, "objectives.1.goal: is required"),
        ({"objectives": ACCURACY}, "objectives"),
        ({"several_objectives": []}, "unknown key 'several_objectives'; did you mean 'objectives'?"),
        ({"outcomes": ["latency"]}, "outcomes.0 = 'latency': is a number, not true or false"),
        ({"outcomes": ["latency <"]}, "outcomes.0 = 'latency <': 'latency <' is not an expression"),
        ({"outcomes": ["1 < 2"]}, "outcomes.0 = '1 < 2': reads no metric"),
        ({"outcomes": ["latency < 'x'"]}, "metrics are numbers, and with numbers the bound cannot be evaluated"),
        ({"outcomes": ["max(latency) < 2"]}, "is not allowed"),
        ({"outcomes": [5]}, "outcomes.0 = 5"),
        ({"pruning": {"pruner": "asha"}}, "pruning.pruner = 'asha': compares trials by one value"),
        ({"stages": [{"trials": 2, "steps": 1}]}, "stages: cannot be used with several objectives"),
        ({"finalists": {}}, "finalists: cannot be used with several objectives"),
        ({"warm_start": "earlier"}, "warm_start: cannot be used with several objectives"),
        ({"ensemble": {}}, "ensemble: cannot be used with several objectives"),
        *(({"search": {"sampler": name}}, f"search.sampler = '{name}': learns from one") for name in FIRST_ONLY),
        ({"run": {"task": "image_classification", "dataset": "digits"}}, "objectives.0.metric = 'accuracy': the task"),
        (
            {
                "run": {"task": "image_classification", "dataset": "digits"},
                "objectives": [{**ACCURACY, "metric": "val_accuracy"}, {**LATENCY, "metric": "val_loss"}],
                "outcomes": ["params < 9"],
            },
            "outcomes (params) = 'params': the task does not report this metric",
        ),
    ],
)
def test_conflicting_keys_are_refused_with_their_fields(changes: dict[str, Any], message: str) -> None:
    assert message in problems_of(**changes)


def test_outcomes_need_several_objectives() -> None:
    with pytest.raises(InvalidInput, match="bounds the front of several `objectives`"):
        review(StudySpec.parse({**ONE, "outcomes": ["latency < 1"]})).refuse()


def test_samplers_are_refused_that_learn_from_one_objective_only() -> None:
    refused = {name for name in SAMPLERS if problems_of(search={"sampler": name})}
    assert refused == {name for name, traits in SAMPLERS.items() if not traits.takes_several}


@pytest.mark.parametrize(("trials", "sampler"), [(20, "gp"), (5_000, "evolution"), (None, "gp")])
def test_auto_chooses_a_sampler_that_searches_for_fronts(trials: int | None, sampler: str) -> None:
    assert select(StudySpec.parse({**STUDY, "budget": {"trials": trials}})).sampler == sampler


def test_a_result_that_divides_by_zero_breaks_its_bound() -> None:
    spec = StudySpec.parse({**STUDY, "outcomes": ["1 / (latency - 1) < 2", "accuracy > 0"]})
    assert spec.broken_outcomes({"latency": 1.0, "accuracy": 0.5}) == ("1 / (latency - 1) < 2",)
    assert spec.broken_outcomes({"latency": 3.0, "accuracy": 0.0}) == ("accuracy > 0",)
