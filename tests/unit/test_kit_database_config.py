"""Where a service's tables are, by its settings, and that nobody is shown a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.config import ConfigError, load, masked
from kit.database import PostgresSchema, SqliteFile, location
from kit.database_config import DatabaseConfig
from kit.secret import Secret

URL = "HEADRACE_DATABASE_URL"


def test_without_a_setting_each_service_has_a_file() -> None:
    """Nothing has to be set up on one machine."""
    found = location(load(DatabaseConfig, {}), data_dir=Path("/data"), service="auth", synchronous="NORMAL")

    expected = SqliteFile(path=Path("/data/auth.db"), synchronous="NORMAL", migrate_wait_s=600)
    assert expected == found
    assert "/data/auth.db" == found.shown


def test_with_an_address_each_service_has_a_schema() -> None:
    """Settings of the pool and of times go with it."""
    env = {
        URL: "postgresql://u:p@db:1/d",
        "HEADRACE_DATABASE_POOL_SIZE": "3",
        "HEADRACE_DATABASE_MIGRATE": "no",
    }
    config = load(DatabaseConfig, env)
    found = location(config, data_dir=Path("/data"), service="auth")

    assert PostgresSchema(url=Secret(env[URL]), schema="auth", settings=config) == found
    assert (3, False) == (config.pool_size, found.migrate)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:canary@db.internal:6543/head", "db.internal:6543/head"),
        ("postgres://u:canary@db.internal/head?sslmode=require", "db.internal:5432/head"),
        ("postgresql://u:canary@/head?host=/run/postgresql", "/run/postgresql:5432/head"),
        ("postgresql:///head", "localhost:5432/head"),
        ("postgresql://u:canary@[::1]:6543/h%C3%A9", "::1:6543/hé"),
    ],
)
def test_operators_are_told_where_it_is(url: str, shown: str) -> None:
    """Host, port and database; never user or password."""
    found = PostgresSchema(url=Secret(url), schema="auth")

    assert shown == found.shown
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:canary@db/d",
        "canary",
        "postgresql://u:canary@db",
        "postgresql://u:canary@db:99999/d",
        "postgresql://u:canary@[::1/d",
        "sqlite:///canary.db",
    ],
)
def test_an_address_of_something_else_is_refused(url: str) -> None:
    """The sentence says what would be right and does not repeat what may hold a password."""
    with pytest.raises(ConfigError) as caught:
        load(DatabaseConfig, {URL: url})

    (problem,) = caught.value.problems
    assert problem.startswith("HEADRACE_DATABASE_URL must be postgresql://user:password@host:port/database")
    assert "canary" not in problem


def test_the_address_is_logged_as_a_mask() -> None:
    """What a start logs of its settings has no password."""
    assert {URL: "***"} == masked(load(DatabaseConfig, {URL: "postgresql://u:canary@db/d"}))
