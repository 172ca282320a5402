"""Which samples are looked at: a fixed, seeded, stratified part of what a trial holds out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from tunefleet.data.order import stratified_order
from tunefleet.errors import InvalidInput, Problem


@dataclass(frozen=True)
class HeldOutSamples:
    """Held-out samples.

    Attributes:
        ids: what each is called, (n,): whole numbers, such as its position in the data set, or names. The same in all
            trials of a study, so that they can be compared.
        labels: int64 (n,), places among the classes; anything that torch makes a tensor of.
        inputs: (n, ...), what the model takes; shown as pictures where they are (n, channels, height, width), as curves
            where they are (n, channels, length).
    """

    ids: Any
    labels: Any
    inputs: Any = None

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    def part(self, count: int, *, seed: int) -> HeldOutSamples:
        """`count` of the samples, each class in its share to within one sample; all of them where there are fewer.

        It depends on the labels, their order and the seed alone; a smaller part lies within a larger one.

        Raises:
            InvalidInput: there are not as many ids, labels and inputs.
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
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise InvalidInput([Problem("probe", f"must have one of each for every sample, and there are {told}")])
