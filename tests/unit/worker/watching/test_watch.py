"""The watch measures correctly, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunefleet.errors import InvalidInput
from tunefleet.protocol.telemetry import MAX_BYTES, MAX_TENSORS, Telemetry
from tunefleet_worker.watching import Watch
from tunefleet_worker.watching.measures import PARAMETER_SAMPLE, sample


class Functional(nn.Module):
    """A typical network: layers in __init__, activations in forward."""

    def __init__(self, activate: Callable[[Tensor], Tensor] = functional.relu) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.activate(self.conv(x)).mean((2, 3)))
        return logits


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def batch(shape: tuple[int, ...] = (8,), n: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *shape, generator=generator), torch.randint(3, (n,), generator=generator)


def train(
    model: nn.Module, optimizer: Any, data: tuple[Tensor, Tensor], *, updates: int = 6, clip: float = 0.0
) -> None:
    for _ in range(updates):
        optimizer.zero_grad()
        functional.cross_entropy(model(data[0]), data[1]).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def watched(model: nn.Module, optimizer: Any, data: tuple[Tensor, Tensor], **options: Any) -> Telemetry:
    watch = Watch(model, [optimizer])
    train(model, optimizer, data, **options)
    watch.close()
    return watch.telemetry()


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.5, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_ratio_and_gradient_norm_are_those_of_the_weights_before_and_after_each_update(name: str, clip: float) -> None:
    telemetry = watched(model := mlp(), OPTIMIZERS[name](model.parameters()), batch(), clip=clip)

    model, data = mlp(), batch()
    optimizer = OPTIMIZERS[name](model.parameters())
    for update in range(6):
        optimizer.zero_grad()
        functional.cross_entropy(model(data[0]), data[1]).backward()
        norm = math.sqrt(sum(float((each.grad**2).sum()) for each in model.parameters() if each.grad is not None))
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        before = {name: each.detach().clone() for name, each in model.named_parameters()}
        optimizer.step()
        assert telemetry.grad_norm[update] == pytest.approx(norm, rel=1e-3)
        for tensor, (name, each) in zip(telemetry.tensors, model.named_parameters(), strict=True):
            ratio = float((each.detach() - before[name]).norm() / before[name].norm())
            assert tensor.name == name
            assert tensor.update_ratio[update] == pytest.approx(ratio, rel=1e-3)


def test_a_watched_training_equals_an_unwatched_one_bit_for_bit() -> None:
    plain, seen = mlp(), mlp()
    train(plain, torch.optim.Adam(plain.parameters(), lr=1e-2), batch(), updates=20)
    watched(seen, torch.optim.Adam(seen.parameters(), lr=1e-2), batch(), updates=20)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), seen.parameters(), strict=True))


def test_hooks_are_there_at_watched_updates_only_and_gone_at_the_end() -> None:
    model, data = mlp(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    of_inputs = 1  # until all samples are seen once

    def hooks() -> int:
        of_modules = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())
        return of_modules + sum(len(each._post_accumulate_grad_hooks or ()) for each in model.parameters())

    watch = Watch(model, [optimizer])
    armed = []
    for _ in range(20):
        armed.append(hooks() > of_inputs)
        train(model, optimizer, data, updates=1)
    assert [update for update, is_armed in enumerate(armed) if is_armed] == watch.telemetry().step
    assert watch.telemetry().step == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 19]
    watch.close()
    watch.close()
    assert hooks() == 0
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks


def test_planted_dead_units_are_found_in_their_layer() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].get_parameter("bias")[:12] = -100.0
    telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=1e-3), batch())
    [relu] = [layer for layer in telemetry.layers if layer.kind == "relu"]
    assert (relu.name, relu.idle) == ("0.relu", [0.75] * 6)
    assert telemetry.samples == [32] * 6


@pytest.mark.parametrize("activate", [functional.relu, torch.relu, nn.ReLU(), Tensor.relu])
def test_dead_channels_are_found_however_the_activation_is_called(activate: Callable[[Tensor], Tensor]) -> None:
    model = Functional(activate)
    with torch.no_grad():
        model.conv.bias[:3] = -100.0  # type: ignore[index]
    telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=1e-3), batch((1, 5, 5)))
    [relu] = [layer for layer in telemetry.layers if layer.kind == "relu"]
    assert (relu.name, relu.idle[0]) == ("conv.relu", 0.5)
    assert [layer.name for layer in telemetry.layers] == ["conv", "conv.relu", "head"]


@pytest.mark.parametrize(("activate", "kind"), [(torch.tanh, "tanh"), (torch.sigmoid, "sigmoid"), (nn.Tanh(), "tanh")])
def test_saturated_activations_are_found(activate: Callable[[Tensor], Tensor], kind: str) -> None:
    shares = []
    for scale in (0.01, 100.0):
        torch.manual_seed(0)
        model = Functional(activate)
        with torch.no_grad():
            model.conv.weight.mul_(scale)
        telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=1e-3), batch((1, 5, 5)))
        shares += [layer.idle[0] for layer in telemetry.layers if layer.kind == kind]
    assert shares[0] == 0.0
    assert shares[1] is not None
    assert shares[1] > 0.7


def test_moments_are_those_of_the_layers_outputs() -> None:
    model, data = mlp(), batch()
    output: Tensor = model[0](data[0])
    telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=0.1), data, updates=1)
    assert telemetry.layers[0].mean[0] == pytest.approx(output.mean().item(), rel=1e-3)
    assert telemetry.layers[0].std[0] == pytest.approx(output.std(correction=0).item(), rel=1e-3)


def test_the_size_of_inputs_is_that_before_the_first_layer_that_does_not_normalise_them() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net((x - 40) / 30)
            return logits

    raw = (30 * batch()[0] + 40, batch()[1])
    scales = []
    plain, own = nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(8)
    for model in (mlp(), nn.Sequential(plain, mlp()), nn.Sequential(own, mlp()), Standardised()):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        watch = Watch(model, [optimizer])
        train(model, optimizer, raw, updates=3)
        scales.append(watch.summaries().get("watch.input_scale"))
        watch.close()
    assert scales == [pytest.approx(50, rel=0.1), pytest.approx(1, rel=0.1), None, pytest.approx(1, rel=0.1)]


def test_evaluation_between_two_updates_is_not_measured() -> None:
    model, data = mlp(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer])
    model.eval()
    model(100 * data[0])
    model.train()
    with torch.no_grad():
        model(100 * data[0])
    train(model, optimizer, data, updates=1)
    assert watch.telemetry().samples == [32]
    assert (watch.telemetry().layers[0].std[0] or 0) < 2
    watch.close()


def test_restored_watch_equals_an_uninterrupted_one() -> None:
    whole, data = mlp(), batch()
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    expected = watched(whole, optimizer, data, updates=30)

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = Watch(model, [optimizer])
    train(model, optimizer, data, updates=17)
    state = first.state()
    first.close()
    second = Watch(model, [optimizer])
    second.restore(state)
    train(model, optimizer, data, updates=13)
    second.close()
    assert second.telemetry() == expected


class Embedded(nn.Module):
    """Sparse gradients, half precision, complex numbers and a frozen part, all in one."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4, sparse=True)
        self.small = nn.Linear(4, 4, dtype=torch.bfloat16)
        self.turn = nn.Parameter(torch.ones(4, dtype=torch.complex64))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.small(self.table(x).bfloat16()).float()
        turned: Tensor = self.frozen(hidden) * self.turn
        return turned.abs().mean()


def test_sparse_half_complex_and_frozen_parameters_are_watched_or_left_out() -> None:
    model = Embedded()
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    watch = Watch(model, [optimizer])
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.arange(5)).backward()
        optimizer.step()
    watch.close()
    telemetry = watch.telemetry()
    assert telemetry.notes == ["the inputs of the model are not examined: each sample is a single number"]
    assert [tensor.name for tensor in telemetry.tensors] == ["turn", "table.weight", "small.weight", "small.bias"]
    assert all(ratio for tensor in telemetry.tensors[:3] for ratio in tensor.update_ratio)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_wrapped_and_compiled_models_keep_the_names_of_their_authors(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(mlp())
    telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=0.1), batch())
    assert [tensor.name for tensor in telemetry.tensors] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(ratio for tensor in telemetry.tensors for ratio in tensor.update_ratio)
    assert telemetry.layers or "compiled" in telemetry.notes[0]


def test_an_optimizer_with_a_closure_is_watched() -> None:
    model, data = mlp(), batch()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(data[0]), data[1])
        loss.backward()
        return loss

    watch = Watch(model, [optimizer])
    for _ in range(3):
        optimizer.step(closure)
    watch.close()
    assert watch.telemetry().updates == 3
    assert all(ratio for tensor in watch.telemetry().tensors for ratio in tensor.update_ratio)


def test_with_several_optimizers_an_update_is_what_all_of_them_do() -> None:
    model, data = mlp(), batch()
    matrices = torch.optim.SGD([each for each in model.parameters() if each.dim() > 1], lr=0.1)
    others = torch.optim.Adam([each for each in model.parameters() if each.dim() == 1], lr=0.1)
    watch = Watch(model, [matrices, others])
    functional.cross_entropy(model(data[0]), data[1]).backward()
    matrices.step()
    others.step()
    watch.close()
    assert all(tensor.update_ratio[0] for tensor in watch.telemetry().tensors)


def test_the_norm_is_unscaled_where_the_gradients_are_scaled() -> None:
    norms = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        model, data = mlp(), batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watch = Watch(model, [optimizer], scaler=scaler)
        loss = functional.cross_entropy(model(data[0]), data[1])
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        watch.close()
        norms.append(watch.telemetry().grad_norm[0])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_a_diverged_training_says_so_in_the_telemetry_and_in_no_metric() -> None:
    model, data = mlp(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    watch = Watch(model, [optimizer])
    train(model, optimizer, data, updates=4)
    watch.close()
    assert not math.isfinite(watch.telemetry().grad_norm[-1] or 0)
    assert all(math.isfinite(value) for value in watch.summaries().values())
    again = Telemetry.model_validate_json(watch.telemetry().model_dump_json())
    assert again.step == watch.telemetry().step


def test_telemetry_of_a_model_of_any_size_is_bounded() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(300)), nn.Linear(2, 3))
    telemetry = watched(model, torch.optim.SGD(model.parameters(), lr=0.1), batch((2,)), updates=3)
    assert len(telemetry.tensors) == MAX_TENSORS
    assert telemetry.tensors[-1].name == "(403 smaller tensors)"
    assert len(telemetry.layers) <= MAX_TENSORS
    assert "the model has 301 layers; one in 4 is observed." in telemetry.notes
    assert len(telemetry.model_dump_json()) / 3 * 256 < MAX_BYTES


def test_a_large_tensor_is_sampled_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(4096, 512, generator=generator)
    seen = sample(large, PARAMETER_SAMPLE)
    assert PARAMETER_SAMPLE // 2 < len(seen) <= PARAMETER_SAMPLE
    assert seen.std().item() == pytest.approx(1.0, abs=0.02)
    assert len(set((torch.arange(len(seen)) * 129 % 512).tolist())) == 512


@pytest.mark.parametrize(
    ("model", "optimizer", "says"),
    [
        (nn.ReLU(), lambda: None, "watch.model: ReLU has no parameters"),
        ("net", lambda: None, "watch.model: must be a torch.nn.Module, and is a str"),
        (mlp().requires_grad_(False), lambda: torch.optim.SGD(mlp().parameters()), "requires a gradient"),
        (mlp(), lambda: torch.optim.SGD(mlp().parameters()), "watch.optimizer: holds none of the model's parameters"),
        (mlp(), lambda: "adam", "watch.optimizer: must be a torch.optim.Optimizer, and is a str"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_its_reason(model: Any, optimizer: Callable[[], Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Watch(model, [optimizer() or torch.optim.SGD(mlp().parameters())])


def test_a_failure_inside_the_watch_ends_the_watch_and_not_the_training() -> None:
    class Broken:
        def get_scale(self) -> float:
            raise RuntimeError("not today")

    model, data = mlp(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], scaler=Broken())
    train(model, optimizer, data, updates=3)
    assert watch.telemetry().step == []
    assert watch.telemetry().notes == ["the watch ended at update 0: RuntimeError: not today"]
    assert not optimizer._optimizer_step_post_hooks
