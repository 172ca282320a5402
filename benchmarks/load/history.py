"""A long history without running it: the rows of a finished trial are copied in the database.

Each copy has a number, a configuration's hash and a value of its own, one attempt, ten reports and its events, as if a
worker had run it. The master must be stopped meanwhile.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    cast,
    create_engine,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url

from tunefleet_master.storage.tables import AttemptRow, EventRow, ReportRow, StudyRow, TrialRow

TRIALS, ATTEMPTS, REPORTS, EVENTS, STUDIES = (
    row.metadata.tables[row.__tablename__] for row in (TrialRow, AttemptRow, ReportRow, EventRow, StudyRow)
)

Changes = dict[str, ColumnElement[Any]]


def lengthen(url: str, n_trials: int) -> None:
    """Copy the only study's first finished trial until the study has `n_trials` finished ones."""
    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(address)
    with engine.begin() as connection:
        _lengthen(connection, n_trials)
    if engine.dialect.name == "postgresql":  # as autovacuum does within a minute
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _lengthen(connection: Connection, n_trials: int) -> None:
    finished = connection.execute(
        select(TRIALS).where(TRIALS.c.finished_at.is_not(None)).order_by(TRIALS.c.id).limit(1)
    ).one()
    held = connection.execute(select(func.count()).where(TRIALS.c.finished_at.is_not(None))).scalar_one()
    study = connection.execute(select(STUDIES).where(STUDIES.c.id == finished.study_id)).one()
    last_id = connection.execute(select(func.max(TRIALS.c.id))).scalar_one()
    n = n_trials - held
    if n <= 0:
        return
    places = _places(n)
    place = places.c.place
    new_id, new_number = literal(last_id) + place, literal(study.n_created - 1) + place
    new_hash = func.substr(TRIALS.c.config_hash, 1, 48).concat(cast(place, String))
    trial: Changes = {
        "id": new_id,
        "number": new_number,
        "config_hash": new_hash,
        "position": literal(study.position - 1) + place,
        "value": TRIALS.c.value + place * 1e-9,
    }
    _copy(connection, TRIALS, TRIALS.c.id == finished.id, places, changes=trial)
    for table in (ATTEMPTS, REPORTS):
        _copy(connection, table, table.c.trial_id == finished.id, places, changes={"trial_id": new_id})
    its_own = (EVENTS.c.study_id == study.id) & (EVENTS.c.trial == finished.number)
    _copy(connection, EVENTS, its_own, places, changes={"trial": new_number}, leave_out="id")
    counts = {"n_created": study.n_created + n, "position": study.position + n}
    connection.execute(update(STUDIES).where(STUDIES.c.id == study.id).values(counts))
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval('trials_id_seq', (SELECT max(id) FROM trials))"))


def _places(n: int) -> CTE:
    """The numbers 1 to n, as the column `place`."""
    first = select(literal(1, Integer).label("place")).cte("places", recursive=True)
    return first.union_all(select(first.c.place + 1).where(first.c.place < n))


def _copy(
    connection: Connection,
    table: Table,
    which: ColumnElement[bool],
    places: CTE,
    *,
    changes: Changes,
    leave_out: str = "",
) -> None:
    """Copy these rows once for each place."""
    columns = [column for column in table.columns if column.name != leave_out]
    values = [changes.get(column.name, column).label(column.name) for column in columns]
    rows = select(*values).select_from(table.join(places, literal(True))).where(which)
    connection.execute(insert(table).from_select([column.name for column in columns], rows))
