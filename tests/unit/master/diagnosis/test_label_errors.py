"""Confident learning: by hand, at its edges, and by its estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunefleet.errors import InvalidInput
from tunefleet_master.diagnosis.label_errors import find_label_errors

# Thresholds: class 0: (0.9 + 0.8 + 0.1) / 3 = 0.6; class 1: (0.7 + 0.9 + 0.55) / 3 = 0.7167.
LABELS = [0, 0, 0, 1, 1, 1]
P = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9], [0.45, 0.55]]


def test_a_table_worked_out_by_hand_comes_out() -> None:
    found = find_label_errors(LABELS, P)
    assert found.order.tolist() == [2, 0, 1, 3, 4, 5]
    assert found.margin.tolist() == pytest.approx([0, 0, 0.8, 0, 0, 0])
    assert found.is_suspected.tolist() == [False, False, True, False, False, False]
    assert found.suggested.tolist() == [0, 0, 1, 1, 1, 1]
    # Of class 0 two count as of 0 and one as of 1; of class 1 one counts, as of 1, and stands for all three.
    assert found.joint.tolist() == [pytest.approx([2 / 6, 1 / 6]), pytest.approx([0, 3 / 6])]
    assert found.rate == pytest.approx(1 / 6)


def test_a_wrong_but_unsure_prediction_is_ranked_and_not_suspected() -> None:
    found = find_label_errors([0, 0, 1, 1], [[0.99, 0.01], [0.49, 0.51], [0.1, 0.9], [0.1, 0.9]])
    assert found.order[0] == 1
    assert not found.is_suspected.any()


def test_models_that_are_always_right_suspect_nothing() -> None:
    found = find_label_errors([0, 1, 2], np.eye(3))
    assert found.rate == pytest.approx(0)
    assert not found.is_suspected.any()
    assert found.order.tolist() == [0, 1, 2]


def test_a_class_without_a_sample_is_suggested_to_nobody() -> None:
    found = find_label_errors([0, 0, 1, 1], [[0.6, 0.1, 0.3], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    assert not found.is_suspected[1]
    assert found.joint.sum() == pytest.approx(1)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_share_of_wrong_labels_is_estimated(rate: float) -> None:
    """Of predictions that are right nine times in ten, and tell how sure they are."""
    generator = np.random.default_rng(3)
    n, k = 20_000, 10
    true = generator.integers(k, size=n)
    logits = generator.normal(size=(n, k)) + 5 * np.eye(k)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = generator.random(n) < rate
    given = np.where(flipped, (true + generator.integers(1, k, size=n)) % k, true)
    found = find_label_errors(given, p)
    assert found.rate == pytest.approx(rate, abs=0.012)
    top = found.order[: flipped.sum()]
    assert flipped[top].mean() > 0.85
    assert flipped[found.is_suspected].mean() > 0.5


@pytest.mark.parametrize(
    ("labels", "probabilities", "rule"),
    [
        ([0, 1], [0.5, 0.5], "must have the shape (samples, classes)"),
        ([], np.zeros((0, 2)), "must have the shape (samples, classes)"),
        ([0], [[0.5, 0.5]] * 2, "must have the shape (2,)"),
        ([0, 2], [[0.5, 0.5]] * 2, "from 0 to 1"),
        ([0.0, 1.0], [[0.5, 0.5]] * 2, "whole numbers"),
        ([0, 1], [[0.5, 0.5], [0.5, 0.2]], "row 1 is not a distribution"),
        ([0, 1], [[np.nan, 0.5], [0.5, 0.5]], "row 0 is not a distribution"),
    ],
)
def test_invalid_labels_and_probabilities_are_refused(labels: Any, probabilities: Any, rule: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        find_label_errors(labels, probabilities)
    assert rule in str(refused.value)
