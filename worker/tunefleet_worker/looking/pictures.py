"""Conversion of samples to small pictures of bytes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tunefleet.protocol.predictions import MAX_CHANNELS, MAX_SIDE, MAX_SIGNAL, Picture


def pictures_of(inputs: Tensor, places: Tensor) -> list[Picture] | None:
    """Return pictures of the samples at positions `places`, int64 (m,).

    Inputs are (n, channels, height, width) or (n, channels, length); for other shapes, such as table columns, return
    None. Images are scaled from the minimum to the maximum of all inputs, signals each from its own. Both are averaged
    down to MAX_SIDE pixels or MAX_SIGNAL values. Images without three channels are averaged over their channels.
    """
    chosen = inputs[places.to(inputs.device)].detach().to("cpu", torch.float32)
    if inputs.dim() == 4:
        return [_picture(each) for each in _scaled(_small(chosen), inputs.min().item(), inputs.max().item())]
    if inputs.dim() == 3 and inputs.shape[2] > 1:
        short = functional.adaptive_avg_pool1d(chosen[:, :MAX_CHANNELS], min(inputs.shape[2], MAX_SIGNAL))
        return [Picture.of(each.shape, _bytes(_scaled(each, each.min().item(), each.max().item()))) for each in short]
    return None


def _small(inputs: Tensor) -> Tensor:
    """Return images (n, 1 or 3, height, width) with at most MAX_SIDE pixels on the longer side."""
    if inputs.shape[1] != 3:
        inputs = inputs.mean(dim=1, keepdim=True)
    height, width = inputs.shape[2:]
    shrink = max(1.0, max(height, width) / MAX_SIDE)
    sides = max(1, round(height / shrink)), max(1, round(width / shrink))
    return inputs if shrink == 1.0 else functional.adaptive_avg_pool2d(inputs, sides)


def _picture(values: Tensor) -> Picture:
    """Return the picture of values (channels, height, width) from 0 to 255."""
    interleaved = values.permute(1, 2, 0)
    return Picture.of(interleaved.shape, _bytes(interleaved))


def _scaled(values: Tensor, low: float, high: float) -> Tensor:
    span = high - low if high > low else 1.0
    return (values - low) / span * 255


def _bytes(values: Tensor) -> bytes:
    return values.nan_to_num(0.0).round().clamp(0, 255).to(torch.uint8).contiguous().numpy().tobytes()
