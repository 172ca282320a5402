"""Records of watched updates, and their conversion to and from the columns of a Telemetry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tunefleet.protocol.telemetry import (
    DEAD_UNITS,
    GRAD_NORM,
    INPUT_SCALE,
    MAX_LAYERS,
    MAX_TENSORS,
    SATURATED_UNITS,
    UPDATE_RATIO,
    Telemetry,
    WatchedLayer,
    WatchedTensor,
)
from tunefleet_worker.watching.activations import LayerOutput
from tunefleet_worker.watching.updates import TensorUpdate

DIGITS = 4  # significant digits: a measurement on one batch is not more accurate


@dataclass(frozen=True, slots=True)
class Record:
    """One watched update."""

    step: int
    epoch: int | None
    samples: int | None
    grad_norm: float | None
    tensors: tuple[TensorUpdate, ...]
    layers: tuple[LayerOutput, ...]
    input_scale: float | None = None  # a metric only; not in the telemetry

    def summary(self) -> dict[str, float]:
        """Return the record as metrics: the median ratio of the weights, the highest share of idle units in a layer.

        Values that are not finite are omitted: they would stop the trial, and only its loss should do that.
        """
        weights = [each for each in self.tensors if len(each.shape) > 1] or self.tensors
        ratios = [each.ratio for each in weights if each.ratio is not None]
        dead = [each.idle for each in self.layers if each.kind == "relu" and each.idle is not None]
        saturated = [each.idle for each in self.layers if each.kind in ("tanh", "sigmoid") and each.idle is not None]
        found = {
            UPDATE_RATIO: median(ratios) if ratios else None,
            GRAD_NORM: self.grad_norm,
            DEAD_UNITS: max(dead, default=None),
            SATURATED_UNITS: max(saturated, default=None),
            INPUT_SCALE: self.input_scale,
        }
        return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def summary_of(summaries: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each metric over several summaries."""
    names = dict.fromkeys(name for each in summaries for name in each)
    return {name: median(each[name] for each in summaries if name in each) for name in names}


def telemetry_of(records: Sequence[Record], *, updates: int, notes: Sequence[str]) -> Telemetry:
    """Return the records as columns; None where a record lacks a tensor or layer."""
    tensors = {each.name: each for record in records for each in record.tensors}
    layers = {(each.name, each.kind): each for record in records for each in record.layers}
    of_tensors = [{each.name: each for each in record.tensors} for record in records]
    of_layers = [{(each.name, each.kind): each for each in record.layers} for record in records]
    return Telemetry(
        updates=updates,
        step=[record.step for record in records],
        epoch=[record.epoch for record in records],
        samples=[record.samples for record in records],
        grad_norm=[_rounded(record.grad_norm) for record in records],
        tensors=[
            WatchedTensor(
                name=name,
                shape=each.shape,
                tensors=each.tensors,
                update_ratio=[_rounded(seen[name].ratio) if name in seen else None for seen in of_tensors],
            )
            for name, each in list(tensors.items())[:MAX_TENSORS]
        ],
        layers=[
            WatchedLayer(
                name=key[0],
                kind=key[1],
                mean=[_rounded(seen[key].mean) if key in seen else None for seen in of_layers],
                std=[_rounded(seen[key].std) if key in seen else None for seen in of_layers],
                idle=[_rounded(seen[key].idle) if key in seen else None for seen in of_layers],
            )
            for key in list(layers)[:MAX_LAYERS]
        ],
        notes=list(notes),
    )


def records_of(telemetry: Telemetry) -> list[Record]:
    """Return the records of a telemetry."""
    return [
        Record(
            step=step,
            epoch=telemetry.epoch[at],
            samples=telemetry.samples[at],
            grad_norm=telemetry.grad_norm[at],
            tensors=tuple(
                TensorUpdate(each.name, each.shape, each.tensors, each.update_ratio[at]) for each in telemetry.tensors
            ),
            layers=tuple(
                LayerOutput(each.name, each.kind, mean, std, each.idle[at])
                for each in telemetry.layers
                if (mean := each.mean[at]) is not None and (std := each.std[at]) is not None
            ),
        )
        for at, step in enumerate(telemetry.step)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
