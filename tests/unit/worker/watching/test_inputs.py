"""What a watch says of the inputs: leaks, scales, and nothing where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunefleet.telemetry import INPUT_SCALE, INPUT_SHIFT, VAL_SEEN
from tunefleet_worker.watching.inputs import MAX_SIGNATURES, InputProbe, signatures

N, FEATURES = 600, 12


def network(features: int = FEATURES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 3))


def drawn(n: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(seed))


def learn(model: nn.Module, inputs: Tensor, *, epoch: int = 0, size: int = 64) -> None:
    model.train()
    for places in torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch)).split(size):
        model(inputs[places])


def judge(model: nn.Module, *parts: Tensor, size: int = 64) -> None:
    model.eval()
    with torch.no_grad():
        for part in parts:
            for batch in part.split(size):
                model(batch)


def seen(train: Tensor, *judged: Tensor, epochs: int = 3, model: nn.Module | None = None) -> dict[str, float]:
    """The newest value of each metric."""
    model = model or network(train.shape[1])
    probe = InputProbe(model)
    newest: dict[str, float] = {}
    for epoch in range(epochs):
        learn(model, train, epoch=epoch)
        judge(model, *judged)
        newest |= probe.news()
    assert probe.notes == []
    return newest


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_the_share_of_validation_that_was_trained_on_is_told(share: float, dtype: torch.dtype) -> None:
    train, validation = ((100 * drawn(n, seed=seed).abs()).to(dtype) for n, seed in ((N, 0), (200, 1)))
    n_leaked = round(share * len(validation))
    validation[:n_leaked] = train[100 : 100 + n_leaked]
    model = nn.Sequential(_Floating(), network())
    order = torch.randperm(len(validation), generator=torch.Generator().manual_seed(9))
    assert seen(train, validation[order], model=model)[VAL_SEEN] == pytest.approx(share)


@pytest.mark.parametrize("kind", ["zeros and ones", "one of 17 levels"])
def test_samples_of_few_levels_are_told_apart(kind: str) -> None:
    levels = 2 if kind == "zeros and ones" else 17
    numbers = torch.randint(levels, (4_000, 64), generator=torch.Generator().manual_seed(0)).float()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert len(signatures(numbers.to(dtype)).unique()) == len(numbers)


def test_of_more_samples_than_are_kept_the_share_is_told_by_those_that_are() -> None:
    train = torch.randn(5 * MAX_SIGNATURES, 4, generator=torch.Generator().manual_seed(0))
    model = network(4)
    probe = InputProbe(model)
    learn(model, train, size=512)
    judge(model, torch.cat([train[:3_000], torch.randn(3_000, 4)]), size=6_000)
    assert probe.news()[VAL_SEEN] == pytest.approx(0.5, abs=0.06)
    assert len(json.dumps(probe.state())) < 120_000


def test_training_judged_on_purpose_beside_validation_is_no_leak() -> None:
    train, validation = drawn(N), drawn(150, seed=1)
    assert seen(train, validation, train[:300])[VAL_SEEN] == 0.0
    assert seen(train, train[:300], validation)[VAL_SEEN] == 0.0
    leaked = torch.cat([train, validation])
    assert seen(leaked, validation, leaked[:300])[VAL_SEEN] == 1.0


def test_a_batch_that_was_trained_on_as_it_stands_is_no_validation() -> None:
    graph = drawn(N)  # one graph, whose nodes are divided by masks
    model = network()
    probe = InputProbe(model)
    for _ in range(3):
        model.train()
        model(graph)
        judge(model, graph, size=N)
        assert VAL_SEEN not in probe.news()


def test_equal_samples_that_are_usual_in_the_data_are_no_leak() -> None:
    words = torch.randint(2, (2_000, 6), generator=torch.Generator().manual_seed(0)).float()
    assert seen(words[:1_600], words[1_600:])[VAL_SEEN] == 0.0


def test_what_is_judged_before_it_is_trained_on_is_no_leak() -> None:
    model = network()
    probe = InputProbe(model)
    for round_ in range(4):  # as an agent acts in states that it learns from afterwards
        states = drawn(100, seed=round_)
        judge(model, states)
        assert not probe.news().get(VAL_SEEN)
        learn(model, states)


@pytest.mark.parametrize(("factor", "offset"), [(4.0, 0.0), (0.2, 0.0), (1.0, 2.0), (0.0, 5.0)])
def test_validation_on_another_scale_is_told(factor: float, offset: float) -> None:
    train, validation = drawn(N), drawn(200, seed=1)
    assert seen(train, validation)[INPUT_SHIFT] < 0.1
    shifted = seen(train, factor * validation + offset, train[:400])
    assert shifted[INPUT_SHIFT] > 1 if factor else INPUT_SHIFT not in shifted  # constant inputs have no scale


def test_the_size_of_inputs_is_told_where_no_normalisation_comes_first() -> None:
    raw = 30 * drawn(N) + 40
    assert seen(raw, raw)[INPUT_SCALE] == pytest.approx(50, rel=0.05)
    assert INPUT_SCALE not in seen(raw, raw, model=nn.Sequential(nn.BatchNorm1d(FEATURES), network()))
    names = torch.randint(50, (N, FEATURES), generator=torch.Generator().manual_seed(0))
    assert seen(names, names, model=nn.Sequential(_Floating(), network())).keys() == {VAL_SEEN}


def test_it_is_over_once_validation_was_compared_with_all_of_training() -> None:
    model = network()
    probe, told = InputProbe(model), []
    for epoch in range(4):
        learn(model, drawn(N), epoch=epoch)
        judge(model, drawn(100, seed=1))
        told.append(probe.news())
    assert probe.is_over
    assert not model._forward_pre_hooks
    assert set(told[0]) == {VAL_SEEN, INPUT_SCALE, INPUT_SHIFT}
    assert told[2:] == [{}, {}]


def test_it_is_over_also_where_nobody_asks_before_the_end() -> None:
    model = network()
    probe = InputProbe(model)
    for epoch in range(4):
        learn(model, drawn(N), epoch=epoch)
        judge(model, drawn(100, seed=1))
    assert probe.is_over
    assert probe.news().keys() == {VAL_SEEN, INPUT_SCALE, INPUT_SHIFT}
    assert probe.news() == {}


def test_a_probe_that_is_restored_says_what_an_unbroken_one_says() -> None:
    train, validation = drawn(N), torch.cat([drawn(N)[:30], drawn(120, seed=1)])

    def told(*, breaks: Sequence[int]) -> list[dict[str, float]]:
        model, found = network(), []
        probe = InputProbe(model)
        for epoch in range(4):
            if epoch in breaks:
                state: Any = json.loads(json.dumps(probe.state()))
                probe.close()
                probe = InputProbe(model)
                probe.restore(state)
            learn(model, train, epoch=epoch)
            judge(model, validation)
            found.append(probe.news())
        return found

    unbroken = told(breaks=())
    assert unbroken[0][VAL_SEEN] == pytest.approx(0.2)
    assert told(breaks=(1,)) == told(breaks=(1, 2, 3)) == unbroken


def test_a_failure_ends_the_probe_and_not_the_training() -> None:
    class Odd(Tensor):
        """A tensor that does not let itself be looked into."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is Tensor.reshape:
                raise TypeError("no shape like that")
            return super().__torch_function__(function, types, args, kwargs)

    model = network()
    probe = InputProbe(model)
    model(drawn(8).as_subclass(Odd))
    assert probe.is_over
    assert probe.notes == ["what the model is given is looked at no more: TypeError: no shape like that"]
    assert probe.news() == {}


class _Floating(nn.Module):
    """Makes numbers of any kind those of the layers behind it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float()
