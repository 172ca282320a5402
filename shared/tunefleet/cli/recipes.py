"""`tunefleet recipes`: published training recipes as first configurations of a study."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, examples

if TYPE_CHECKING:
    from tunefleet.catalogue.recipes import Recipe

app = typer.Typer()


@app.command(epilog=examples("tunefleet recipes", "tunefleet recipes resnet-imagenet"))
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Show this recipe.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List published training recipes with their sources.

    A study with `search: {start_from: [NAME]}` runs the recipe first.
    """
    from tunefleet.catalogue.recipes import RECIPES, find

    if name is not None:
        _show(find(name), as_json)
    elif as_json:
        output.print_json([_plain(recipe) for recipe in RECIPES.values()])
    else:
        rows = [[each.name, each.purpose, output.params_text(each.params)] for each in RECIPES.values()]
        output.console().print(output.table(["recipe", "made for", "parameters"], rows), markup=False)


def _show(recipe: Recipe, as_json: bool) -> None:
    if as_json:
        output.print_json(_plain(recipe))
        return
    out = output.console()
    out.print(f"{recipe.name}: {recipe.purpose}", markup=False)
    out.print(output.table(["parameter", "value"], list(recipe.params.items())))
    if recipe.also:
        out.print(f"also:   {recipe.also}", markup=False)
    out.print(f"source: {recipe.source}", markup=False)
    out.print(f"use:    search: {{start_from: [{recipe.name}]}}", markup=False)


def _plain(recipe: Recipe) -> dict[str, Any]:
    # asdict cannot copy a read-only mapping.
    return {**asdict(recipe), "params": dict(recipe.params)}
