"""Input metrics of a watch: leaks and shifts, and nothing when they are not known."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunefleet.protocol.telemetry import INPUT_SHIFT, VAL_SEEN
from tunefleet_worker.watching.inputs import InputProbe
from tunefleet_worker.watching.signature_sketch import MAX_SIGNATURES
from tunefleet_worker.watching.signatures import signatures

N, FEATURES = 600, 12
EPOCHS = 4  # all samples are known from the second on; a complete leak is reported from the third on


def network(features: int = FEATURES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 3))


def drawn(n: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(seed))


def learn(model: nn.Module, inputs: Tensor, *, epoch: int = 0, size: int = 64) -> None:
    model.train()
    for places in torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch)).split(size):
        model(inputs[places])


def evaluate(model: nn.Module, *parts: Tensor, size: int = 64) -> None:
    model.eval()
    with torch.no_grad():
        for part in parts:
            for batch in part.split(size):
                model(batch)


def seen(train: Tensor, *evaluated: Tensor, model: nn.Module | None = None, size: int = 64) -> dict[str, float]:
    """Return the newest value of each metric."""
    model = model or network(train.shape[1])
    probe = InputProbe(model)
    newest: dict[str, float] = {}
    for epoch in range(EPOCHS):
        learn(model, train, epoch=epoch, size=size)
        evaluate(model, *evaluated, size=size)
        newest |= probe.new_metrics()
    assert probe.notes == []
    return newest


class _Floating(nn.Module):
    """Converts numbers of any type to those of the next layers."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_share_of_validation_samples_in_training_is_a_metric(share: float, dtype: torch.dtype) -> None:
    train, validation = ((100 * drawn(n, seed=seed).abs()).to(dtype) for n, seed in ((N, 0), (200, 1)))
    n_leaked = round(share * len(validation))
    validation[:n_leaked] = train[100 : 100 + n_leaked]
    model = nn.Sequential(_Floating(), network())
    order = torch.randperm(len(validation), generator=torch.Generator().manual_seed(9))
    assert seen(train, validation[order], model=model)[VAL_SEEN] == pytest.approx(share)


@pytest.mark.parametrize("size", [1, 7, 200])
def test_share_does_not_depend_on_the_batch_size(size: int) -> None:
    train, validation = drawn(N), drawn(200, seed=1)
    assert seen(train, validation, size=size)[VAL_SEEN] == 0.0
    validation[::5] = train[:40]
    assert seen(train, validation, size=size)[VAL_SEEN] == pytest.approx(0.2)


@pytest.mark.parametrize(("levels", "offset"), [(2, 0), (17, 0), (1_000, 1_700_000_000)])
def test_samples_of_few_levels_and_of_close_numbers_are_distinguished(levels: int, offset: int) -> None:
    numbers = torch.randint(levels, (4_000, 64), generator=torch.Generator().manual_seed(0)) + offset
    kinds = (
        (torch.float32, torch.float64, torch.bfloat16, torch.int64) if levels < 100 else (torch.float64, torch.int64)
    )
    for dtype in kinds:
        assert len(signatures([numbers.to(dtype)]).unique()) == len(numbers)


def test_signatures_do_not_depend_on_the_memory_layout() -> None:
    pictures = torch.rand(8, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    lying = pictures.to(memory_format=torch.channels_last)
    assert torch.equal(signatures([pictures]), signatures([lying]))
    assert torch.equal(signatures([pictures[:, 0, 0, 0]]), signatures([pictures[:, 0, 0, 0].clone()]))


def test_sketch_estimates_the_share_of_more_samples_than_it_keeps() -> None:
    generator = torch.Generator().manual_seed(0)
    train, new = (torch.randn(n, 4, generator=generator) for n in (5 * MAX_SIGNATURES, 6_000))
    model = network(4)
    probe = InputProbe(model)
    evaluated = torch.cat([train[:1_500], new])[torch.randperm(7_500, generator=generator)]
    for epoch in range(2):
        learn(model, train, epoch=epoch, size=512)
        evaluate(model, evaluated, train[9_000:15_000], size=500)
        found_metrics = probe.new_metrics()
    assert found_metrics[VAL_SEEN] == pytest.approx(0.2, abs=0.04)
    assert len(json.dumps(probe.state())) < 240_000


def test_training_samples_evaluated_beside_validation_are_no_leak() -> None:
    train, validation = drawn(40 * N), drawn(150, seed=1)  # epochs of 375 batches
    assert seen(train, validation, train[:3_000])[VAL_SEEN] == 0.0
    assert seen(train, train[:3_000], validation)[VAL_SEEN] == 0.0
    leaked = torch.cat([drawn(N), validation])
    assert seen(leaked, validation, leaked[:300])[VAL_SEEN] == 1.0


def test_evaluating_training_samples_only_has_no_result() -> None:
    assert seen(drawn(N), drawn(N)) == {}


@pytest.mark.parametrize("every", [1, 2])
def test_training_samples_evaluated_between_validations_are_no_leak(every: int) -> None:
    model, train, validation = network(), drawn(N), drawn(150, seed=1)
    probe, found_metrics = InputProbe(model), []
    for epoch in range(8):
        learn(model, train, epoch=epoch)
        evaluate(model, train[:200], *([validation] if epoch % every == 0 else []))
        found_metrics.append(probe.new_metrics().get(VAL_SEEN, 0.0))
    assert set(found_metrics) == {0.0}


def test_loop_that_evaluates_between_single_steps_has_no_result() -> None:
    """Loops that evaluate training batches: accuracy per batch, adversarial samples, a target network."""
    model, train = network(), drawn(N)
    probe = InputProbe(model)
    for _ in range(3):
        for batch in train[torch.randperm(N)].split(64):
            learn(model, batch)
            evaluate(model, batch)
        evaluate(model, drawn(100, seed=1))
        assert VAL_SEEN not in probe.new_metrics()
    assert probe.notes == [
        "the inputs of the model are not examined: the model is evaluated between single training steps"
    ]


def test_samples_evaluated_before_training_on_them_are_no_leak() -> None:
    model = network()
    probe = InputProbe(model)
    states = torch.empty(0, FEATURES)
    for round_ in range(6):  # like an agent that acts in states and learns from them afterwards
        new = drawn(100, seed=round_)
        evaluate(model, new)
        states = torch.cat([states, new])
        learn(model, states)
        assert VAL_SEEN not in probe.new_metrics()


def test_equal_samples_that_are_usual_in_the_data_are_no_leak() -> None:
    words = torch.randint(2, (2_000, 6), generator=torch.Generator().manual_seed(0)).float()
    assert seen(words[:1_600], words[1_600:]) == {}  # the evaluated samples are all samples
    pairs = torch.randint(60, (2_000, 2), generator=torch.Generator().manual_seed(0)).float()
    assert seen(pairs[:1_600], pairs[1_600:])[VAL_SEEN] < 0.05


def test_a_pair_of_equal_samples_does_not_hide_a_leak() -> None:
    train, validation = drawn(8_000), drawn(1_000, seed=1)
    validation[::5] = train[:200]
    validation[998] = validation[999]
    assert seen(train, validation, size=100)[VAL_SEEN] == pytest.approx(0.2, abs=0.03)


def test_samples_of_several_tensors_are_compared_as_a_whole() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = nn.Embedding(50, 4)

        def forward(self, users: Tensor, *, items: Tensor) -> Tensor:
            product: Tensor = self.users(users) * self.users(items)
            return product

    model, users = Pair(), torch.arange(N) % 50
    probe = InputProbe(model)
    found_metrics: dict[str, float] = {}
    for _ in range(EPOCHS):
        for part in users.split(64):
            model(part, items=torch.arange(len(part)) % 40)
        with torch.no_grad():
            model(users[:50], items=torch.full((50,), 45))
        found_metrics |= probe.new_metrics()
    assert found_metrics == {VAL_SEEN: 0.0}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (lambda: ((torch.randn(9, 4), torch.zeros(2, 30)), {}), "the tensors differ in length"),
        (lambda: ((torch.arange(9),), {}), "each sample is a single number"),
        (lambda: (("text",), {}), "the model gets no tensors"),
        (lambda: (({"a": torch.randn(9, 4), "b": [torch.zeros(8)]},), {}), "the tensors differ in length"),
    ],
)
def test_rows_that_may_be_no_samples_are_not_compared(given: Callable[[], Any], why: str) -> None:
    class Taking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return self.weight

    model = Taking()
    probe = InputProbe(model)
    args, kwargs = given()
    model(*args, **kwargs)
    assert probe.notes == [f"the inputs of the model are not examined: {why}"]
    assert InputProbe(nn.LSTM(3, 3)).is_over  # its rows are time steps
    assert not InputProbe(nn.LSTM(3, 3, batch_first=True)).is_over


@pytest.mark.parametrize(("factor", "offset"), [(4.0, 0.0), (0.2, 0.0), (1.0, 2.0), (0.0, 5.0)])
def test_shift_of_validation_inputs_is_a_metric(factor: float, offset: float) -> None:
    train, validation = drawn(N), drawn(200, seed=1)
    assert seen(train, validation)[INPUT_SHIFT] < 0.1
    shifted = seen(train, factor * validation + offset, train[:400])
    assert shifted[INPUT_SHIFT] > 1 if factor else INPUT_SHIFT not in shifted  # constant inputs have no scale


def test_restored_probe_equals_an_uninterrupted_one() -> None:
    train, validation = drawn(N), torch.cat([drawn(N)[:30], drawn(120, seed=1)])

    def metrics_of(*, breaks: Sequence[int]) -> list[dict[str, float]]:
        model, found = network(), []
        probe = InputProbe(model)
        for epoch in range(EPOCHS):
            if epoch in breaks:
                state: Any = json.loads(json.dumps(probe.state()))
                probe.close()
                probe = InputProbe(model)
                probe.restore(state)
            learn(model, train, epoch=epoch)
            evaluate(model, validation)
            found.append(probe.new_metrics())
        return found

    uninterrupted = metrics_of(breaks=())
    assert [each.get(VAL_SEEN) for each in uninterrupted] == [None, pytest.approx(0.2), None, None]
    assert metrics_of(breaks=(1,)) == metrics_of(breaks=(1, 2, 3)) == uninterrupted


def test_probe_ends_after_the_last_comparison() -> None:
    model = network()
    probe = InputProbe(model)
    for epoch in range(20):
        learn(model, drawn(N), epoch=epoch)
        evaluate(model, drawn(100, seed=1))
        probe.new_metrics()
    assert probe.is_over
    assert not model._forward_pre_hooks


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_copied_and_pickled_models_have_no_watch() -> None:
    model = network()
    probe = InputProbe(model)
    learn(model, drawn(N))
    copied = copy.deepcopy(model)
    written = pickle.dumps(model)
    assert b"tunefleet" not in written
    for other in (copied, pickle.loads(written)):
        evaluate(other, drawn(100, seed=1))
    assert probe.new_metrics() == {}
    traced: Any = torch.jit.trace(model, drawn(3))
    assert torch.equal(traced(drawn(5)), model(drawn(5)))


def test_per_sample_gradients_are_left_alone() -> None:
    model = network()
    probe = InputProbe(model)
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, parameters, (sample.unsqueeze(0),))
        return output.sum()

    torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, drawn(5))
    assert json.dumps(probe.state())
    assert not probe.is_over


def test_a_failure_ends_the_probe_and_not_the_training() -> None:
    class Odd(Tensor):
        """A tensor that raises when it is inspected."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is Tensor.reshape:
                raise TypeError("no shape like that")
            return super().__torch_function__(function, types, args, kwargs)

    model = network()
    probe = InputProbe(model)
    model(drawn(8).as_subclass(Odd))
    assert probe.is_over
    assert probe.notes == ["the inputs of the model are not examined: TypeError: no shape like that"]
    assert probe.new_metrics() == {}
    broken = InputProbe(model)
    broken.restore({"found": {}, "told": {}, "is_over": False})
    assert broken.is_over
