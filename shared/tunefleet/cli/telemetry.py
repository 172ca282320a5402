"""`tunefleet telemetry`: a trial's training telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, StudyName, Token, TrialNumber, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.protocol.telemetry import Telemetry

app = typer.Typer()


@app.command(epilog=examples("tunefleet telemetry digits 3", "tunefleet telemetry digits 3 --json"))
def telemetry(
    study: StudyName,
    number: TrialNumber,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a trial's update ratios, gradients and idle units.

    Numbers are medians over the second and third epoch. Idle units are dead or saturated. Only the update ratios of
    weights are compared with limits: biases start at zero, so their ratios mean little.
    """
    with connected(url, token) as client:
        found = client.study(study).telemetry(number)
    if as_json:
        output.print_json(found)
        return
    console = output.console()
    console.print(output.table(["tensor", "shape", "update/weight", ""], _tensor_rows(found)))
    if found.layers:
        console.print(output.table(["output of", "mean", "std", "idle units, %"], _layer_rows(found)))
    norm = output.cell_text(found.typical(found.grad_norm))
    output.print_message(
        f"Recorded {len(found.step)} of {found.updates} updates. Gradient norm before clipping: {norm}"
    )
    for note in found.notes:
        output.print_message(f"note: {note}")


def _tensor_rows(found: Telemetry) -> list[list[object]]:
    from tunefleet.protocol.telemetry import RATIO_BAND

    low, high = RATIO_BAND
    rows: list[list[object]] = []
    for tensor in found.tensors:
        ratio = found.typical(tensor.update_ratio)
        verdict = ""
        if ratio is not None and tensor.is_weight:
            verdict = f"below {low:g}" if ratio < low else f"above {high:g}" if ratio > high else ""
        rows.append([tensor.name, "×".join(map(str, tensor.shape)), ratio, verdict])
    return rows


def _layer_rows(found: Telemetry) -> list[list[object]]:
    rows: list[list[object]] = []
    for layer in found.layers:
        idle = found.typical(layer.idle)
        share = None if idle is None else 100 * idle
        rows.append([layer.name, found.typical(layer.mean), found.typical(layer.std), share])
    return rows
