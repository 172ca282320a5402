"""A small network for handwritten digits, as plain PyTorch (`plain.py`) and as a study (`train.py`)."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tunefleet import LocalTrial, Trial

lr = 1e-3
width = 64
dropout = 0.1
epochs = 5
batch_size = 64
n_train = 1_400  # of 1,797 pictures; the rest is for validation


def pictures() -> tuple[Tensor, Tensor]:
    """Return pixels (n, 64) in [0, 1], and labels (n,)."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)


def train(trial: Trial, *, lr: float, width: int, dropout: float) -> None:
    """Train one network."""
    torch.set_num_threads(1)  # a fixed order of additions, so that every run gives the same numbers
    x, y = pictures()
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in trial.epochs(model=model, optimizer=optimizer):
        model.train()
        for batch in torch.randperm(n_train).split(batch_size):
            loss = cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model(x[n_train:])
        val_loss = cross_entropy(scores, y[n_train:]).item()
        val_accuracy = (scores.argmax(1) == y[n_train:]).float().mean().item()
        trial.report(val_loss=val_loss, val_accuracy=val_accuracy)


if __name__ == "__main__":
    torch.manual_seed(0)
    train(LocalTrial(steps=epochs), lr=lr, width=width, dropout=dropout)
