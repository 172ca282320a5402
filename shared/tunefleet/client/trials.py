"""The trials of a study as a sequence that fetches its pages on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from tunefleet.client.transport import Transport, route
from tunefleet.errors import TunefleetError
from tunefleet.protocol import Page, TrialState, TrialView

if TYPE_CHECKING:
    import pandas

PAGE_SIZE = 500  # few requests for a large study, and each request is fast


class Trials(Sequence[TrialView]):
    """A study's trials in a chosen order; each page shows the trials at the time of its request.

    Args:
        transport: the connection to the master.
        study: the study's name.
        state: only trials in this state.
        sort: `number`, `value`, `duration`, `state` or a parameter's name; a leading `-` puts the largest first.
            Trials without a value come last.
        limit: the largest number of trials.
    """

    def __init__(
        self,
        transport: Transport,
        study: str,
        *,
        state: TrialState | str | None = None,
        sort: str = "number",
        limit: int | None = None,
    ) -> None:
        self._transport = transport
        self._path = route("studies", study, "trials")
        self._query = {
            "state": str(state) if state is not None else None,
            "sort": sort.removeprefix("-"),
            "descending": sort.startswith("-"),
        }
        self._limit = limit
        self._items: list[TrialView] = []
        self._cursor: str | None = None
        self._total: int | None = None

    @property
    def total(self) -> int:
        """The number of trials, without the limit."""
        if self._total is None:
            self._fetch()
        return len(self._items) if self._cursor is None else self._total or 0

    def __len__(self) -> int:
        """Return the number of trials in the sequence."""
        return self.total if self._limit is None else min(self.total, self._limit)

    @overload
    def __getitem__(self, index: int) -> TrialView: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrialView]: ...
    def __getitem__(self, index: int | slice) -> TrialView | list[TrialView]:
        """Return the trial at an index, or the list of trials of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if at < 0 or not self._has_index(at):
            raise IndexError(f"trial {index} of {len(self)}")
        return self._items[at]

    def __iter__(self) -> Iterator[TrialView]:
        """Yield all trials; fetch their pages on demand."""
        at = 0
        while self._has_index(at):
            yield self._items[at]
            at += 1

    def __repr__(self) -> str:
        """Return a text with the number of trials."""
        return f"<{len(self)} trials>"

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row for each trial: number, state, value, `params.…`, `metrics.…`, and facts about its run.

        Raises:
            TunefleetError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise TunefleetError(
                "to_pandas() needs pandas, which is not installed.", hint="Install it with `pip install pandas`."
            ) from error
        rows = [row_of(trial) for trial in self]
        return pandas.DataFrame(rows, columns=columns_of(rows))

    def _has_index(self, at: int) -> bool:
        """Fetch pages up to this index; return False when there is no such trial."""
        if self._limit is not None and at >= self._limit:
            return False
        while at >= len(self._items) and (self._total is None or self._cursor is not None):
            self._fetch()
        return at < len(self._items)

    def _fetch(self) -> None:
        size = PAGE_SIZE if self._limit is None else min(PAGE_SIZE, self._limit)
        query = {**self._query, "cursor": self._cursor, "limit": size}
        page = self._transport.get(self._path, Page[TrialView], query=query)
        self._items += page.items
        self._cursor, self._total = page.next, page.total


_FIRST_COLUMNS = ("number", "state", "value", "best_step", "last_step")
_PREFIXES = ("params.", "metrics.")


def row_of(trial: TrialView) -> dict[str, Any]:
    """Return a trial as one flat row."""
    run_s = (trial.finished_at - trial.started_at).total_seconds() if trial.finished_at and trial.started_at else None
    return {
        **{name: getattr(trial, name) for name in _FIRST_COLUMNS},
        **{f"params.{name}": value for name, value in trial.params.items()},
        **{f"metrics.{name}": value for name, value in trial.metrics.items()},
        "failure": trial.failure,
        "message": trial.message,
        "attempt": trial.attempt,
        "seed": trial.seed,
        "origin": trial.origin,
        "worker": trial.worker,
        "created_at": trial.created_at,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "duration_s": run_s,
    }


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """Return all columns of the rows: the main facts first, then parameters, metrics, and facts about the run."""
    return sorted(
        dict.fromkeys(column for row in rows for column in row) or dict.fromkeys(_FIRST_COLUMNS), key=_column_rank
    )


def _column_rank(column: str) -> int:
    """Return the rank of a column's group; columns keep their order within a group."""
    if column in _FIRST_COLUMNS:
        return 0
    return next((i + 1 for i, group in enumerate(_PREFIXES) if column.startswith(group)), len(_PREFIXES) + 1)
