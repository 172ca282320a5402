"""Make `digits_svm.npz` and `digits_mlp.npz`: every configuration of two finite spaces on scikit-learn's digits.

Support vector machines are judged by the error of a twofold cross-validation, multilayer perceptrons by the logarithm
of the loss on a fifth of the data after 8 epochs, since the error on 360 samples has too few values. Seconds are those
of the CPU. It takes some minutes.

python benchmarks/search_quality/make_digits.py
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from benchmarks.search_quality import digits, stored
from benchmarks.search_quality.task import number
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC
from torch import nn

from tunefleet.study.space import Configuration

N_EPOCHS = 8
N_VALIDATION = 360
N_PIXELS, N_CLASSES, BRIGHTEST = 64, 10, 16.0


@cache
def data() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels (1797, 64) from 0 to 1, and labels (1797,)."""
    x, y = load_digits(return_X_y=True)
    return x / BRIGHTEST, y


def svm_loss(params: Configuration) -> float:
    """The error of the cross-validation."""
    x, y = data()
    model = SVC(
        C=digits.SVM_C[int(number(params, "c"))],
        gamma=digits.SVM_GAMMA[int(number(params, "gamma"))],
        kernel=str(params["kernel"]),
        degree=int(number(params, "degree")) if "degree" in params else 3,
    )
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    return 1.0 - float(cross_val_score(model, x, y, cv=folds).mean())


def mlp_loss(params: Configuration) -> float:
    """The logarithm of the validation loss."""
    x, y = data()
    signals, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out, kept = order[:N_VALIDATION], order[N_VALIDATION:]
    torch.manual_seed(0)
    model = network(params)
    optimizer = optimizer_of(model, params)
    for _ in range(N_EPOCHS):
        for batch in torch.split(kept[torch.randperm(len(kept))], digits.MLP_BATCH[int(number(params, "batch_size"))]):
            loss = nn.functional.cross_entropy(model(signals[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        validated = nn.functional.cross_entropy(model(signals[held_out]), labels[held_out]).item()
    return math.log(validated) if math.isfinite(validated) else digits.DIVERGED


def network(params: Configuration) -> nn.Module:
    """The multilayer perceptron."""
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[str(params["activation"])]
    sizes = [N_PIXELS, *[digits.MLP_UNITS[int(number(params, "units"))]] * int(number(params, "depth"))]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], N_CLASSES))


def optimizer_of(model: nn.Module, params: Configuration) -> torch.optim.Optimizer:
    """Adam, or SGD with momentum."""
    lr = digits.MLP_LR[int(number(params, "lr"))]
    if params["optimizer"] == "adam":
        return torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    momentum = digits.MLP_MOMENTUM[int(number(params, "momentum"))]
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, fused=True)


def main() -> None:
    """Make both files."""
    torch.set_num_threads(1)
    for file, space, loss_of in ((digits.MLP, digits.MLP_SPACE, mlp_loss), (digits.SVM, digits.SVM_SPACE, svm_loss)):
        rows = []
        for configuration in (configurations := list(space.grid())):
            began = time.process_time()
            loss = loss_of(configuration)
            rows.append({"loss": loss, "seconds": time.process_time() - began})
            if len(rows) % 100 == 0:
                print(f"{file.name}: {len(rows)}/{len(configurations)}", file=sys.stderr)
        stored.write(file, configurations, columns=stored.columns_of(rows))


if __name__ == "__main__":
    main()
