"""Held-out samples, and their stored predictions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tunefleet.errors import InvalidInput
from tunefleet.protocol.predictions import MAX_PICTURES, MAX_SIDE, Predictions
from tunefleet.study.spec import DataSpec
from tunefleet.trial.local_trial import LocalTrial
from tunefleet_worker.looking.pictures import pictures_of
from tunefleet_worker.looking.predictions import keep_predictions, predict, write_predictions
from tunefleet_worker.looking.probe import Probe
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts
from tunefleet_worker.tasks.image_classification import image_classification

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


def held_out(**changes: Any) -> Probe:
    inputs = torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Probe(**{"ids": range(100), "labels": LABELS, "inputs": inputs, **changes})


def kept(trial: LocalTrial) -> Predictions:
    return Predictions.read((trial.folder / "predictions.json").read_bytes())


def test_a_part_has_each_class_in_its_share_and_lies_within_a_larger_one() -> None:
    parts = [held_out().part(count, seed=3) for count in (10, 20, 50)]
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[6, 3, 1], [12, 6, 2], [30, 15, 5]]
    for small, large in itertools.pairwise(parts):
        assert set(small.ids) <= set(large.ids)
    again = held_out().part(10, seed=3)
    assert (parts[0].ids, held_out().part(10, seed=4).ids != again.ids) == (again.ids, True)


def test_ids_labels_and_inputs_of_a_part_belong_together_and_a_small_set_is_taken_whole() -> None:
    names = [f"{label}-{place}.png" for place, label in enumerate(LABELS.tolist())]
    part = held_out(ids=names, labels=LABELS.numpy()).part(30, seed=0)
    assert [name.split("-")[0] for name in part.ids] == [str(label) for label in part.labels.tolist()]
    assert torch.equal(part.inputs[4], held_out().inputs[names.index(part.ids[4])])
    assert len(held_out().part(1000, seed=0)) == 100


@pytest.mark.parametrize("changes", [{"ids": [1, 2]}, {"inputs": torch.zeros(99, 1)}])
def test_a_probe_needs_one_of_each_for_every_sample(changes: Any) -> None:
    with pytest.raises(InvalidInput, match="one of each for every sample"):
        held_out(**changes).part(5, seed=0)


def test_pictures_are_averaged_down_and_scaled_to_bytes() -> None:
    large = torch.zeros(2, 3, 100, 50)
    large[1, 0] = 2.0
    dark, red = pictures_of(large, torch.tensor([0, 1])) or []
    assert dark.shape == red.shape == (MAX_SIDE, MAX_SIDE // 2, 3)
    assert set(dark.content) == {0}
    assert set(red.content[::3]) == {255}
    assert set(red.content[1::3]) == {0}
    [many] = pictures_of(torch.rand(1, 7, 8, 8), torch.tensor([0])) or []
    assert many.shape == (8, 8, 1)


def test_each_signal_has_its_own_scale_and_tables_have_no_pictures() -> None:
    [signal] = pictures_of(torch.tensor([[[-1.0, 0.0, 3.0]]]), torch.tensor([0])) or []
    assert (signal.shape, list(signal.content)) == ((1, 3), [0, 64, 255])
    assert pictures_of(torch.zeros(5, 13), torch.tensor([0])) is None
    [flat] = pictures_of(torch.full((1, 1, 3), torch.nan), torch.tensor([0])) or []
    assert list(flat.content) == [0, 0, 0]


def test_built_in_task_stores_predictions_on_the_validation_part_only() -> None:
    trial = LocalTrial(steps=3, data=DataSpec(probe=100), options={"dataset": "digits"})
    trial.quiet = True
    image_classification(trial, lr=3e-3, model="mlp")
    found = kept(trial)
    parts = load_training_parts(DataChoice(dataset="digits", spec=DataSpec()))
    assert len(found.ids) == 100
    labels = dict(zip(parts.validation_ids.tolist(), parts.validation.labels.tolist(), strict=True))
    assert [labels[each] for each in found.ids if isinstance(each, int)] == list(found.labels)
    right = sum(not found.is_wrong(place) for place in range(100)) / 100
    assert right == pytest.approx(trial.reports[-1][1]["val_accuracy"], abs=0.06)
    assert found.pictures[min(found.pictures)].shape == (8, 8, 1)
    assert found.model == "last"
    assert (trial.folder / "predictions.svg").read_text().startswith("<svg ")
    assert (trial.folder / "predictions.json").stat().st_size < 20_000


def test_samples_do_not_depend_on_the_parameters_or_the_training_share() -> None:
    ids = []
    for lr, subset in ((1e-3, 1.0), (1e-2, 0.3)):
        trial = LocalTrial(steps=1, data=DataSpec(probe=20, subset=subset), options={"dataset": "digits"})
        trial.quiet = True
        image_classification(trial, lr=lr, model="mlp")
        ids.append(kept(trial).ids)
    assert ids[0] == ids[1]


def test_diverged_model_and_a_study_without_probe_store_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    none = LocalTrial(data=DataSpec(probe=0))
    assert not keep_predictions(none, model, held_out=held_out(), classes="abc")
    diverged = LocalTrial()
    with torch.no_grad():
        model[1].weight.fill_(torch.nan)  # type: ignore[operator]
    assert not keep_predictions(diverged, model, held_out=held_out(), classes="abc")
    assert not (diverged.folder / "predictions.json").exists()


def test_probabilities_of_any_library_are_accepted_without_class_names() -> None:
    trial = LocalTrial()
    p = np.eye(3, dtype=np.float32)[LABELS.numpy()]
    write_predictions(trial, Probe(np.arange(100), LABELS.numpy()), probabilities=p)
    found = kept(trial)
    assert found.classes == ("0", "1", "2")
    assert found.pictures == {}
    assert found.of_label(99) == 1.0


def test_errors_of_a_model_have_pictures_up_to_a_limit() -> None:
    trial = LocalTrial()
    n = 300
    p = torch.tensor([[0.4, 0.6]]).repeat(n, 1)
    write_predictions(
        trial, Probe(range(n), torch.zeros(n, dtype=torch.int64), torch.rand(n, 1, 64, 64)), probabilities=p
    )
    found = kept(trial)
    assert len(found.pictures) == MAX_PICTURES
    assert (trial.folder / "predictions.json").stat().st_size < 200_000


def test_predicting_draws_no_random_number_and_does_not_depend_on_the_batch() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    inputs = torch.randn(1_100, 1, 4, 4)
    state = torch.get_rng_state()
    p = predict(model, inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.allclose(p[600:], predict(model, inputs[600:]))
    assert torch.allclose(p.sum(dim=1), torch.ones(1_100))


@pytest.mark.parametrize(
    ("p", "rule"),
    [
        (torch.zeros(100), "must be (samples, classes)"),
        (torch.full((100, 3), 0.5), "sum to 1.5"),
        (torch.full((99, 4), 0.25), "99 rows of probabilities"),
        (torch.full((100, 2), 0.5), "a label must be from 0 to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(p: Any, rule: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        write_predictions(LocalTrial(), held_out(), probabilities=p)
    assert rule in str(refused.value)
