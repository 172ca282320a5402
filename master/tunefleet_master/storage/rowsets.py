"""Writes of many rows in one statement.

SQLite inserts rows one after the other at little cost. On Postgres each row of an `executemany` is a separate message,
which costs more than the row. There all rows are sent as one JSON parameter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.tables import MetricValues, UtcTime, dump_metrics

Rows = Sequence[Mapping[str, Any]]

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class RowInsert:
    """Inserts rows into a table.

    Args:
        table: the table.
        columns: columns that are given or have a default; None: all but an `id`, which the database generates.
    """

    def __init__(self, table: Table, columns: Sequence[str] | None = None) -> None:
        self._columns = [c for c in table.c if c.name != "id" and (columns is None or c.name in columns)]
        self._defaults = {
            c.name: c.default.arg for c in self._columns if isinstance(c.default, ScalarElementColumnDefault)
        }
        self._one_by_one = insert(table)
        names = _names(self._columns)
        self._at_once = text(f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_recordset(self._columns)}")

    def execute(self, connection: Connection, rows: Rows) -> None:
        """Insert the rows; columns that a row omits get their defaults."""
        if not rows:
            return
        if backend_of(connection) == "sqlite":
            connection.execute(self._one_by_one, list(rows))
        else:
            plain = _plain([{**self._defaults, **row} for row in rows], self._columns)
            connection.execute(self._at_once, {"rows": json.dumps(plain)})


class RowUpdate:
    """Updates columns of rows that are found by a key.

    Args:
        table: the table.
        key: the columns that identify a row.
        columns: the columns to set.
    """

    def __init__(self, table: Table, *, key: Sequence[str], columns: Sequence[str]) -> None:
        self._columns = [table.c[name] for name in (*key, *columns)]
        change = f"UPDATE {table.name} SET"
        values = ", ".join(f"{name} = :{name}" for name in columns)
        self._one_by_one = text(f"{change} {values} WHERE {' AND '.join(f'{name} = :{name}' for name in key)}")
        values = ", ".join(f"{name} = given.{name}" for name in columns)
        found = " AND ".join(f"{table.name}.{name} = given.{name}" for name in key)
        self._at_once = text(f"{change} {values} FROM {_recordset(self._columns)} WHERE {found}")

    def execute(self, connection: Connection, rows: Rows) -> None:
        """Update the rows; each has a value for every key column and every column to set."""
        if not rows:
            return
        plain = _plain(rows, self._columns)
        if backend_of(connection) == "sqlite":
            connection.execute(self._one_by_one, plain)
        else:
            connection.execute(self._at_once, {"rows": json.dumps(plain)})


def _recordset(columns: Sequence[Column[Any]]) -> str:
    """The parameter `rows` as a Postgres recordset."""
    types = ", ".join(f'"{column.name}" {column.type.compile(dialect=_DIALECT)}' for column in columns)
    return f"json_to_recordset(CAST(:rows AS json)) AS given({types})"


def _names(columns: Sequence[Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def _plain(rows: Rows, columns: Sequence[Column[Any]]) -> list[dict[str, Any]]:
    """The rows in JSON types: times as seconds, metrics as text."""
    times = {column.name for column in columns if isinstance(column.type, UtcTime)}
    metrics = {column.name for column in columns if isinstance(column.type, MetricValues)}
    return [
        {
            name: _seconds(value) if name in times else dump_metrics(value) if name in metrics else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
