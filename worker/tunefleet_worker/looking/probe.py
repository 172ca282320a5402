"""Held-out samples, and a fixed, seeded, stratified part of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from tunefleet.data.order import stratified_order
from tunefleet.errors import InvalidInput, Problem


@dataclass(frozen=True)
class Probe:
    """Held-out samples.

    Attributes:
        ids: (n,) integers, such as positions in the data set, or names; the same in all trials of a study, so that
            trials can be compared.
        labels: int64 (n,), class positions; anything that torch converts to a tensor.
        inputs: (n, ...), the model's inputs; shown as pictures if (n, channels, height, width), as curves if
            (n, channels, length).
    """

    ids: Any
    labels: Any
    inputs: Any = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def part(self, count: int, *, seed: int) -> Probe:
        """Return `count` samples, or all if there are fewer, with each class in its share to within one sample.

        Only the labels, their order and the seed determine the samples; a smaller part is a subset of a larger one.

        Raises:
            InvalidInput: ids, labels and inputs differ in number.
        """
        self._check()
        labels = torch.as_tensor(self.labels).cpu()
        chosen = torch.from_numpy(stratified_order(labels.numpy(), seed)[:count]).sort().values
        index = chosen.tolist()
        ids = self.ids.tolist() if hasattr(self.ids, "tolist") else self.ids
        inputs = None if self.inputs is None else torch.as_tensor(self.inputs)
        return replace(
            self,
            ids=[ids[place] for place in index],
            labels=labels[chosen],
            inputs=None if inputs is None else inputs[chosen.to(inputs.device)],
        )

    def _check(self) -> None:
        counts = {"ids": len(self.ids), "labels": len(self.labels)}
        if self.inputs is not None:
            counts["inputs"] = len(self.inputs)
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise InvalidInput([Problem("probe", f"must have one of each for every sample, and there are {shown}")])
