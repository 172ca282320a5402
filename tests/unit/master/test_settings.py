from __future__ import annotations

from pathlib import Path

import pytest

from tunefleet.errors import InvalidInput, StorageUnusable
from tunefleet_master import data_folder
from tunefleet_master.settings import Settings, is_loopback


def test_the_default_master_is_local() -> None:
    settings = Settings(data=Path("/data"))

    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 8765, None)
    assert settings.database_url == "sqlite:////data/tunefleet.db"
    assert (settings.lease_s, settings.heartbeat_s, settings.sweep_s) == (60, 10, 2)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "master.example.org"])
def test_an_address_that_others_can_reach_is_not_local(host: str) -> None:
    assert not Settings.parse({"data": "/data", "host": host}).is_local


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("127.0.0.1.evil.org", False)],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 70_000),
        ("lease_s", 0),
        ("log_level", "loud"),
        ("token", "short"),
        ("token", "with a space in it"),
        ("allowed_hosts", ["a/b"]),
        ("allowed_hosts", ["tune.example.org:443"]),
        ("rate_limit", 0),
    ],
)
def test_a_setting_out_of_bounds_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as error:
        Settings.parse({"data": "/data", field: value})

    assert error.value.problems[0].field.startswith(field)


def test_a_short_lease_has_short_heartbeat_and_sweep_intervals() -> None:
    settings = Settings(data=Path("/data"), lease_s=3)

    assert settings.heartbeat_s == 0.5
    assert settings.sweep_s == 0.75


def test_the_token_is_not_shown() -> None:
    assert "a-long-secret" not in repr(Settings(data=Path("/data"), token="a-long-secret"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////x/y.db", Path("/x/y.db.lock")),
        ("sqlite+pysqlite:////x/y.db?mode=rw", Path("/x/y.db.lock")),
        ("postgresql+psycopg://host/name", None),
    ],
)
def test_only_a_database_file_has_a_lock_file(url: str, expected: Path | None) -> None:
    assert Settings(data=Path("/data"), database=url).lock_file == expected


def test_a_second_lock_on_the_same_file_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    lock = tmp_path / "tunefleet.db.lock"
    with (
        data_folder.locked(lock),
        pytest.raises(StorageUnusable, match="another master"),
        data_folder.locked(lock),
    ):
        pass

    with data_folder.locked(lock):
        pass


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageUnusable, match="--data") as error:
        data_folder.prepare(tmp_path / "file" / "data")

    assert str(tmp_path / "file" / "data") in error.value.message
