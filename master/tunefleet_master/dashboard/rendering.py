"""Rendering of pages from templates."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from tunefleet import __version__
from tunefleet.figures import contact_sheets
from tunefleet.protocol import StudyView, TrialState
from tunefleet_master.dashboard import charts, formats


@dataclass(frozen=True, slots=True)
class Bar:
    """A study's progress bar: finished trials, the total, and a segment for each state."""

    done: int
    total: int | None
    segments: list[tuple[str, float, float]]
    text: str


def render(template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """Render a page; `values` must contain every name that its template uses."""
    return HTMLResponse(_pages.get_template(template).render(values), status_code=status)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tunefleet_master.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("number", "setting", "exact", "duration", "ago", "moment", "size", "between", "prose", "percent")
    environment.filters.update({name: getattr(formats, name) for name in names})
    environment.globals.update(version=__version__, bar=_bar, chart_size=(charts.WIDTH, charts.HEIGHT))
    environment.globals.update(charts=charts, drawing=contact_sheets)
    return environment


_OPEN = (TrialState.RUNNING, TrialState.PAUSED)


def _bar(study: StudyView) -> Bar:
    counts, most = study.trials, study.most_trials
    shown = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED, *_OPEN)
    numbers = {state.value: counts.get(state, 0) for state in shown}
    done = (
        sum(numbers.values()) - numbers["running"] - numbers["paused"] - numbers["cancelled"]
    )  # trials that a stop cancelled never ran
    total = max(most or 0, sum(numbers.values()))
    text = ", ".join(f"{count} {state}" for state, count in numbers.items() if count) or "nothing yet"
    return Bar(done, most, charts.shares(numbers, total), text)


_pages = _environment()
