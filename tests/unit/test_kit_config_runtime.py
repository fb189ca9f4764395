"""Settings that every process has, and where its sockets are."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from kit import rundir
from kit.config import ConfigError, load
from kit.runtime_config import RuntimeConfig


def test_run_directory_is_beside_the_data() -> None:
    """Sockets live in the data directory when that path is short."""
    config = load(RuntimeConfig, {"HEADRACE_DATA_DIR": "/srv/headrace"})

    assert Path("/srv/headrace/run") == config.run_dir


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default data directory is the one under the directory that the process was started in."""
    monkeypatch.chdir(tmp_path)

    assert tmp_path / ".headrace" == load(RuntimeConfig, {}).data_dir


def test_long_data_path_gets_short_run_directory() -> None:
    """A data directory too deep for sockets gets a stable short run directory of its own."""
    deep, other = Path("/srv") / ("d" * 90), Path("/srv") / ("e" * 90)

    assert rundir.resolve(deep) == rundir.resolve(deep)
    assert rundir.resolve(deep) != rundir.resolve(other)
    assert rundir.fits(rundir.resolve(deep))


def test_longest_accepted_directory_can_be_bound(tmp_path: Path) -> None:
    """A directory that just fits really takes a socket with the longest name there is."""
    longest = "h_udp_parent_18446744071563472880"  # of an Envoy that hands over
    fill = 103 - len(f"/{longest}") - len(os.fsencode(tmp_path)) - 1
    directory = tmp_path / ("x" * fill) if fill > 0 else tmp_path
    directory.mkdir(exist_ok=True)
    if fill > 0:
        assert rundir.fits(directory)
        assert not rundir.fits(directory.with_name(directory.name + "x"))
    with socket.socket(socket.AF_UNIX) as bound:
        if rundir.fits(directory):
            bound.bind(str(directory / longest))


def test_explicit_run_directory_must_fit() -> None:
    """A run directory that the operator chose and that cannot hold sockets is a problem, not replaced."""
    with pytest.raises(ConfigError, match="HEADRACE_RUN_DIR is too long"):
        load(RuntimeConfig, {"HEADRACE_RUN_DIR": "/" + "r" * 100})


def test_prepare_closes_the_directory_to_others(tmp_path: Path) -> None:
    """The run directory is the owner's alone, made or found."""
    made, found = tmp_path / "a" / "run", tmp_path / "found"
    found.mkdir(mode=0o755)
    for directory in (made, found):
        rundir.prepare(directory)

    assert [0o700, 0o700] == [stat.S_IMODE(path.stat().st_mode) for path in (made, found)]


def test_prepare_refuses_a_link(tmp_path: Path) -> None:
    """A symbolic link in the place of the run directory is refused: it may lead to anybody's."""
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")

    with pytest.raises(PermissionError, match="is not a directory"):
        rundir.prepare(tmp_path / "run")


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ("auth", "unix:/r/auth.sock"),
        ("edge-3", "unix:/r/edge-3-grpc.sock"),
        ("headrace", "unix:/r/headrace.sock"),
    ],
)
def test_listens_on_the_socket_of_its_name(process: str, expected: str) -> None:
    """A process serves gRPC where its peers look for it."""
    config = load(RuntimeConfig, {"HEADRACE_RUN_DIR": "/r", "HEADRACE_PROCESS": process})

    assert (expected,) == config.listen_addresses()


def test_targets_can_be_elsewhere() -> None:
    """A peer is on its socket unless an address says otherwise."""
    config = load(RuntimeConfig, {"HEADRACE_RUN_DIR": "/r", "HEADRACE_AUTH_ADDRESS": "dns:///auth:9000"})

    assert "dns:///auth:9000" == config.target("auth")
    assert "unix:/r/providers-local.sock" == config.target("providers-local")
    assert {"auth": "dns:///auth:9000"} == config.configured_addresses()


@pytest.mark.parametrize("text", ["9100", "host:", "host:99999", "host:http", ":9100"])
def test_admin_address_is_checked(text: str) -> None:
    """An admin address that is not host and port is refused."""
    with pytest.raises(ConfigError, match="HEADRACE_ADMIN_LISTEN must be host:port"):
        load(RuntimeConfig, {"HEADRACE_ADMIN_LISTEN": text})


def test_admin_address_is_read() -> None:
    """An admin address may be a host name, an IPv4 or a bracketed IPv6 address."""
    config = load(RuntimeConfig, {"HEADRACE_ADMIN_LISTEN": "[::1]:9100"})

    assert ("::1", 9100) == config.admin_address()


def test_process_name_cannot_leave_the_directory() -> None:
    """A process name becomes part of a path, so it holds no path."""
    with pytest.raises(ConfigError, match="HEADRACE_PROCESS"):
        load(RuntimeConfig, {"HEADRACE_PROCESS": "../auth"})


def test_claim_removes_what_nobody_answers_on(tmp_path: Path) -> None:
    """The socket file of a killed process makes way."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    rundir.claim(path)

    assert not path.exists()


def test_claim_leaves_a_living_process_alone(tmp_path: Path) -> None:
    """A socket that somebody answers on is not taken away from them."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()

        with pytest.raises(OSError, match="another process answers"):
            rundir.claim(path)
    assert path.exists()


def test_claim_leaves_files_alone(tmp_path: Path) -> None:
    """Only sockets are removed."""
    path = tmp_path / "precious"
    path.write_text("x")
    rundir.claim(path)

    assert path.exists()
