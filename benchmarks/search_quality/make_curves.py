"""Make `mnist1d_curves.npz`: 400 configurations of small networks on mnist1d, every epoch of 50.

The data set has 4,000 training samples, of which 800 are held out for validation, and 1,000 test samples. Networks are
trained with a constant learning rate on one thread; seconds are those of the CPU, so that what else the machine did
does not matter. Training loss and accuracy are means over the epoch while it runs, dropout included; the others are
measured at its end.

It takes about half an hour, and an interrupted run goes on where it stopped.

python benchmarks/search_quality/make_curves.py [--rows FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from benchmarks.search_quality import curves, stored
from benchmarks.search_quality.task import number
from torch import Tensor, nn

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.history import History
from tunefleet_master.search.sobol import SobolSampler

N_CONFIGURATIONS = 400
N_EPOCHS = 50
N_VALIDATION = 800
N_CLASSES = 10
LENGTH = 40  # samples of a signal


@dataclass(frozen=True)
class Data:
    """Signals (n, 1, 40) and labels (n,) of the three parts."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def read_data() -> Data:
    """The data set as its package generates it, with its own seed, divided once and for all."""
    from mnist1d.data import get_dataset_args, make_dataset  # imports matplotlib

    made = make_dataset(get_dataset_args())
    parts = [
        (torch.tensor(made[x], dtype=torch.float32).unsqueeze(1), torch.tensor(made[y]).long())
        for x, y in (("x", "y"), ("x_test", "y_test"))
    ]
    (x, y), test = parts
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out, kept = order[:N_VALIDATION], order[N_VALIDATION:]
    return Data((x[kept], y[kept]), (x[held_out], y[held_out]), test)


def network(params: Configuration) -> nn.Module:
    """An MLP on the signal, or convolutions, each halving it, with their average over time at the end."""
    layers: list[nn.Module] = []
    if params["kind"] == "mlp":
        layers.append(nn.Flatten())
        sizes = [LENGTH, *[int(number(params, "units"))] * int(number(params, "depth"))]
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(number(params, "dropout"))]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], N_CLASSES))
    sizes = [1, *[int(number(params, "channels"))] * int(number(params, "depth"))]
    kernel = int(number(params, "kernel"))
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
        layers.append(nn.Dropout(number(params, "dropout")))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(sizes[-1], N_CLASSES))


def optimizer_of(model: nn.Module, params: Configuration) -> torch.optim.Optimizer:
    """Decay is decoupled from the gradient with Adam, and the usual L2 penalty with SGD."""
    lr, decay = number(params, "lr"), number(params, "weight_decay")
    if params["optimizer"] == "adam":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay, fused=True)
    momentum = number(params, "momentum")
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=decay, fused=True)


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, data: tuple[Tensor, Tensor], batch_size: int
) -> tuple[float, float]:
    """Train one epoch in random order; return its mean loss and accuracy."""
    x, y = data
    loss_sum, n_right = 0.0, 0
    model.train()
    for batch in torch.split(torch.randperm(len(x)), batch_size):
        logits = model(x[batch])
        loss = nn.functional.cross_entropy(logits, y[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        n_right += int((logits.argmax(1) == y[batch]).sum())
    return loss_sum / len(x), n_right / len(x)


@torch.no_grad()
def measure(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Loss and accuracy."""
    model.eval()
    x, y = data
    logits = model(x)
    return nn.functional.cross_entropy(logits, y).item(), float((logits.argmax(1) == y).float().mean())


def curve(params: Configuration, data: Data, *, seed: int) -> dict[str, list[float]]:
    """Every column of `curves.COLUMNS`, one number for each epoch; a network that diverged goes on, not finite."""
    torch.manual_seed(seed)
    model = network(params)
    optimizer = optimizer_of(model, params)
    rows = []
    for _ in range(N_EPOCHS):
        began = time.process_time()
        trained = train_epoch(model, optimizer, data=data.train, batch_size=int(number(params, "batch_size")))
        validated = measure(model, data.validation)
        seconds = time.process_time() - began
        rows.append([*trained, *validated, measure(model, data.test)[1], seconds])
    return dict(zip(curves.COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def configurations(space: Space) -> list[Configuration]:
    """Return configurations spread evenly over the space."""
    proposals = SobolSampler(space, seed=0).propose(0, N_CONFIGURATIONS, history=History(space))
    return [proposal for proposal in proposals if proposal is not None]


def rows_of(file: Path, wanted: list[Configuration]) -> Iterator[dict[str, list[float]]]:
    """Return the curve of each configuration; missing ones are trained and added to the file."""
    known = stored.kept_rows(file)
    data = read_data()
    for n, params in enumerate(wanted):
        if n < len(known):
            yield known[n]
            continue
        made = curve(params, data, seed=n)
        stored.keep_row(file, made)
        print(f"{n + 1}/{len(wanted)} {made['val_accuracy'][-1]:.3f} {params}", file=sys.stderr)
        yield made


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path("mnist1d_curves.jsonl"), help="what is done so far")
    parser.add_argument("--out", type=Path, default=curves.FILE, help="the finished file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a network that has diverged or died would train many times slower
    wanted = configurations(curves.SPACE)
    stored.write(arguments.out, wanted, columns=stored.columns_of(list(rows_of(arguments.rows, wanted))))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
