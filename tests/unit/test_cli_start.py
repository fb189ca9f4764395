"""What `headrace up` decides: settings, the table of processes, restarts, what it says."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.backoff import Backoff
from cli.config import CliConfig, problems, service_environment
from cli.printer import Printer, reason
from cli.processes import StopStage, Topology, table
from cli.ready import ProcessState, Readiness, connectable
from cli.runlock import StartError, check_port, claim_sockets, hold, holder, sweep
from cli.session import connect
from cli.welcome import welcome
from deploy.envoy.config import EnvoyConfig
from deploy.envoy.epochs import Place
from deploy.envoy.front import front_door, otlp
from deploy.envoy.render import render
from kit.config import load
from kit.runtime_config import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.processes import ProcessSpec

ENV = {"HEADRACE_DATA_DIR": "/data", "HEADRACE_RUN_DIR": "/run/h", "PATH": "/bin"}


def specs(topology: Topology, env: Mapping[str, str] = ENV) -> dict[str, ProcessSpec]:
    """Make the table, by name."""
    config, runtime = load(CliConfig, env), load(RuntimeConfig, env)
    made = table(topology, config=config, runtime=runtime, env=env)
    return {spec.name: spec for spec in made}


class TestSettings:
    """What is checked before anything starts."""

    def test_defaults(self) -> None:
        """With nothing set, nothing is wrong."""
        assert problems({}, up=True) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("HEADRACE_PORT", "0"),
            ("HEADRACE_PORT", "http"),
            ("HEADRACE_GRPC_PORT", "70000"),
            ("HEADRACE_WORKERS", "0"),
            ("HEADRACE_ENVOY_LOG_LEVEL", "loud"),
            ("HEADRACE_LOG_LEVEL", "loud"),
            ("HEADRACE_NOBODY", "1"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ],
    )
    def test_bad_value(self, name: str, value: str) -> None:
        """A wrong value, wherever the setting is read, is one line that names it."""
        found = problems({name: value})

        assert len(found) == 1
        assert name in found[0]

    def test_all_at_once(self) -> None:
        """Every problem is told, not only the first."""
        assert len(problems({"HEADRACE_PORT": "x", "HEADRACE_WORKERS": "x", "HEADRACE_X": "x"})) == 3

    def test_what_up_decides(self) -> None:
        """Settings of a single process are refused by `up`, and by nothing else."""
        env = {"HEADRACE_LISTEN": "127.0.0.1:9000"}

        assert problems(env) == []
        assert len(problems(env, up=True)) == 1

    def test_services_do_not_see_ours(self) -> None:
        """Settings that services would refuse do not reach them; theirs do."""
        env = {
            "HEADRACE_WORKERS": "1",
            "HEADRACE_TOKEN": "hr_x",
            "HEADRACE_LOG_LEVEL": "info",
            "X": "y",
        }

        assert service_environment(env) == {"HEADRACE_LOG_LEVEL": "info", "X": "y"}


class TestTable:
    """Which processes there are."""

    def test_split(self) -> None:
        """Each service has a process of its own, each worker an edge, and Envoy stands in front."""
        found = specs(Topology(workers=2))

        services = ["auth", "router", "cache", "ledger", "providers"]
        assert list(found) == [*services, "edge-0", "edge-1", "providers-local", "envoy"]
        assert [found[name].argv[2:4] for name in services] == [("services", name) for name in services]
        assert found["edge-1"].argv[2:] == ("services", "edge")
        assert found["providers-local"].argv[2:] == ("services", "providers", "--only", "local")
        assert "local" not in found["providers"].argv

    @pytest.mark.parametrize(
        ("topology", "name"), [(Topology(), "providers"), (Topology(inline=True), "headrace")]
    )
    def test_providers_that_the_operator_added(self, topology: Topology, name: str) -> None:
        """They are served beside those that are known."""
        env = {**ENV, "HEADRACE_PROVIDER_CUSTOM_NEON_BASE_URL": "https://llm.neon.example/v1"}

        assert {"openai", "custom-neon"} <= set(specs(topology, env)[name].argv)

    def test_inline(self) -> None:
        """One process listens where each service would."""
        found = specs(Topology(inline=True))

        assert list(found) == ["headrace", "providers-local", "envoy"]
        listen = found["headrace"].env["HEADRACE_LISTEN"].split(",")
        names = ["auth", "router", "cache", "ledger", "providers", "edge-0-grpc"]
        assert listen == [f"unix:/run/h/{name}.sock" for name in names]
        assert found["headrace"].env["HEADRACE_EDGE_LISTEN_HTTP"] == "unix:/run/h/edge-0-http.sock"
        address = found["headrace"].env["HEADRACE_PROVIDERS_LOCAL_ADDRESS"]
        assert address == "unix:/run/h/providers-local.sock"

    def test_no_envoy(self) -> None:
        """Without Envoy the edge listens on the ports itself."""
        env = specs(Topology(envoy=False))["edge-0"].env

        assert env["HEADRACE_EDGE_LISTEN_HTTP"].split(",")[1] == "127.0.0.1:8080"
        assert env["HEADRACE_LISTEN"].split(",")[1] == "127.0.0.1:9090"

    def test_inline_without_envoy_keeps_services_off_the_network(self) -> None:
        """Nobody overwrites what a caller says it is, so no service of the process is offered on a port."""
        env = specs(Topology(envoy=False, inline=True))["headrace"].env

        assert all(address.startswith("unix:") for address in env["HEADRACE_LISTEN"].split(","))
        assert env["HEADRACE_EDGE_LISTEN_HTTP"].endswith("127.0.0.1:8080")

    def test_no_local_model(self) -> None:
        """Without the local model its process is left out, and the edge knows."""
        found = specs(Topology(local_model=False))

        assert "providers-local" not in found
        assert found["edge-0"].env["HEADRACE_LOCAL_ENABLED"] == "false"

    def test_environment(self) -> None:
        """Every process knows its name and where everything is, and finds the code from anywhere."""
        found = specs(Topology(), {**ENV, "HEADRACE_TOKEN": "hr_x", "PYTHONPATH": "/mine"})

        env = found["auth"].env
        assert (env["HEADRACE_PROCESS"], env["HEADRACE_DATA_DIR"]) == ("auth", "/data")
        assert env["HEADRACE_RUN_DIR"] == "/run/h"
        assert "HEADRACE_TOKEN" not in env
        assert env["PYTHONPATH"].split(os.pathsep)[-1] == "/mine"
        assert (Path(env["PYTHONPATH"].split(os.pathsep)[0]) / "services").is_dir()

    def test_grace(self) -> None:
        """The operator's grace wins over ours."""
        assert specs(Topology())["auth"].env["HEADRACE_GRACE_S"] == "2"
        assert specs(Topology(), {**ENV, "HEADRACE_GRACE_S": "30"})["auth"].env["HEADRACE_GRACE_S"] == "30"

    def test_stop_order(self) -> None:
        """Edges stop first, then Envoy, then services, and the ledger last."""
        found = specs(Topology())

        stages = {name: spec.stop_stage for name, spec in found.items()}
        assert stages["edge-0"] < stages["envoy"] < stages["auth"] < stages["ledger"]
        assert StopStage.BACK == stages["providers-local"]

    @pytest.mark.parametrize(
        ("topology", "is_possible"),
        [
            (Topology(workers=4), True),
            (Topology(inline=True), True),
            (Topology(inline=True, workers=2), False),
            (Topology(envoy=False, workers=2), False),
        ],
    )
    def test_what_goes_together(self, topology: Topology, *, is_possible: bool) -> None:
        """Several edges need Envoy and processes of their own."""
        assert (topology.problem() is None) == is_possible


class TestEnvoy:
    """How Envoy is run."""

    def test_sockets_are_the_edges(self) -> None:
        """Envoy looks for each edge where that edge listens."""
        found = specs(Topology(workers=3))
        told = found["envoy"].env
        front = front_door(load(EnvoyConfig, told), load(RuntimeConfig, told), {})

        for index in range(3):
            env = found[f"edge-{index}"].env
            assert (front.edge_http[index], front.edge_grpc[index]) == (
                env["HEADRACE_EDGE_LISTEN_HTTP"],
                env["HEADRACE_LISTEN"],
            )
        assert "edge-2-grpc.sock" in render(front)

    @pytest.mark.parametrize(
        ("value", "path"), [("off", None), ("stdout", "/dev/stdout"), ("/a.log", "/a.log")]
    )
    def test_access_log(self, value: str, path: str | None) -> None:
        """The access log goes to standard output, to a file, or nowhere."""
        config = load(EnvoyConfig, {"HEADRACE_ENVOY_ACCESS_LOG": value})
        front = front_door(config, load(RuntimeConfig, ENV), {})

        assert front.access_log_path == path

    def test_command(self, tmp_path: Path) -> None:
        """Installations on one machine share nothing, and a later Envoy finds the one before it."""
        env = {"HEADRACE_ENVOY_CONCURRENCY": "3", "HEADRACE_RUN_DIR": str(tmp_path), "HEADRACE_TOKEN": "x"}
        place = Place(load(EnvoyConfig, env), load(RuntimeConfig, env), env, 1)
        first = place.argv(0)
        (tmp_path / "envoy.base-id").write_text("7")
        second = place.argv(1)

        assert Path(first[0]).is_file()
        assert first[first.index("--concurrency") + 1] == "3"
        assert ("--use-dynamic-base-id" in first, "--use-dynamic-base-id" in second) == (True, False)
        assert [second[second.index(name) + 1] for name in ("--base-id", "--restart-epoch")] == ["7", "1"]

    @pytest.mark.parametrize(
        ("env", "endpoint", "percent"),
        [
            ({}, None, 0),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "http://c:4317", 100),
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"},
                "http://t",
                100,
            ),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, None, 0),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, None, 0),
            ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4317", 100),
            (
                {
                    "OTEL_TRACES_EXPORTER": "otlp",
                    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                    "OTEL_TRACES_SAMPLER_ARG": "0.25",
                },
                "http://localhost:4317",
                25,
            ),
            (
                {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "always_off"},
                "http://localhost:4317",
                0,
            ),
        ],
    )
    def test_tracing(self, env: dict[str, str], endpoint: str | None, percent: float) -> None:
        """Envoy's spans go where the services' go, and as many."""
        found = otlp(env)

        assert (found.endpoint if found else None) == endpoint
        assert (found.sampling_percent if found else 0) == percent


class TestBackoff:
    """When a process is started again."""

    def test_delays(self) -> None:
        """At once, then later and later, up to ten seconds; every fifth time loudly."""
        backoff = Backoff()
        restarts = [backoff.after(1) for _ in range(10)]

        assert [restart.delay_s for restart in restarts] == [0, 0.25, 0.5, 1, 2, 4, 8, 10, 10, 10]
        assert [restart.failures for restart in restarts if restart.is_loud] == [5, 10]

    def test_forgets(self) -> None:
        """A process that stayed up for half a minute begins anew."""
        backoff = Backoff()
        for _ in range(4):
            backoff.after(1)

        assert backoff.after(30).delay_s == 0


class TestPrinter:
    """What is printed."""

    def test_not_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Lines of processes go on as they are; ours go to standard error."""
        printer = Printer(["auth"])
        printer.line("auth", '{"event": "ready"}')
        printer.say("hello")

        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ('{"event": "ready"}\n', "headrace: hello\n")

    def test_terminal(self) -> None:
        """On a terminal each line has its process's name, and what looks like markup is left alone."""
        from rich.console import Console

        console = Console(force_terminal=True, width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        with console.file:
            printer = Printer(["auth", "edge-0"], console)
            printer.line("auth", "[bold]not markup[/bold] \x1b[31mred\x1b[0m")
        text = console.export_text()

        assert text == "auth     │ [bold]not markup[/bold] red\n"

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (0, "ended"),
            (3, "failed with status 3"),
            (-9, "was ended by SIGKILL"),
            (-99, "was ended by signal 99"),
        ],
    )
    def test_reason(self, status: int, words: str) -> None:
        """An exit status is said in words."""
        assert reason(status) == words


class TestWelcome:
    """What is said when all is ready."""

    def test_without_local_model(self) -> None:
        """Without the local model the example names one that needs a key, and says so."""
        text = welcome(load(CliConfig, {}), Topology(local_model=False), Path("/t"), elapsed_s=1)

        assert '"openai/' in text
        assert "needs a key" in text

    @pytest.mark.parametrize(
        ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.1", "10.0.0.1")]
    )
    def test_address(self, host: str, shown: str) -> None:
        """The address is one that can be connected to."""
        text = welcome(load(CliConfig, {"HEADRACE_HOST": host}), Topology(), Path("/t"), elapsed_s=1)

        assert f"curl http://{shown}:8080/v1/chat/completions" in text
        assert connectable(host) == shown.strip("[]")


class TestLock:
    """Who may start where."""

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        """The second on a data directory is refused; when the first has gone it is free again."""
        with hold(tmp_path):
            assert holder(tmp_path) == os.getpid()
            with pytest.raises(StartError, match=f"process {os.getpid()}"), hold(tmp_path):
                pass
        assert holder(tmp_path) is None
        with hold(tmp_path):
            pass

    def test_directory_that_cannot_be(self, tmp_path: Path) -> None:
        """A data directory that cannot be made is named."""
        (tmp_path / "file").write_text("")
        with pytest.raises(StartError, match="HEADRACE_DATA_DIR"), hold(tmp_path / "file" / "data"):
            pass

    def test_port(self) -> None:
        """A port that is taken is named with its setting."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(StartError, match=f"Port {port} on 127.0.0.1 is taken.*HEADRACE_PORT"):
                check_port("127.0.0.1", port, "HEADRACE_PORT")
        check_port("127.0.0.1", port, "HEADRACE_PORT")

    def test_host(self) -> None:
        """An address of another machine is refused."""
        with pytest.raises(StartError, match="not an address of this machine"):
            check_port("203.0.113.1", 8080, "HEADRACE_PORT")

    def test_sockets(self, tmp_path: Path) -> None:
        """Sockets of the dead are removed; one that answers is not."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "dead.sock"))
        claim_sockets(tmp_path)
        assert not (tmp_path / "dead.sock").exists()

        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(str(tmp_path / "alive.sock"))
            alive.listen()
            with pytest.raises(StartError, match=r"alive\.sock"):
                claim_sockets(tmp_path)

    def test_sweep(self, tmp_path: Path) -> None:
        """A stop leaves nothing of ours, and what is not ours is left alone."""
        run_dir = tmp_path / "run"
        run_dir.mkdir()
        (run_dir / "envoy.yaml").write_text("")
        sweep(run_dir, run_dir / "envoy.yaml")
        assert not run_dir.exists()

        run_dir.mkdir()
        (run_dir / "mine").write_text("")
        sweep(run_dir, run_dir / "envoy.yaml")
        assert [path.name for path in run_dir.iterdir()] == ["mine"]


async def test_nobody_is_ready(tmp_path: Path) -> None:
    """Processes that are not there are not ready, and asking them is no error."""
    env = {"HEADRACE_DATA_DIR": str(tmp_path / "d"), "HEADRACE_PORT": "1"}
    readiness = Readiness(specs(Topology(), env).values(), "127.0.0.1", 1)

    states = await readiness.processes()
    assert set(states.values()) == {ProcessState()}
    assert await readiness.whole() == ProcessState()


def test_the_own_token_goes_to_no_other_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever calls another machine's API says with which token."""
    (tmp_path / "token").write_text("hr_own\n")
    env = {"HEADRACE_DATA_DIR": str(tmp_path)}
    assert "local" == connect("http://127.0.0.1:9", env=env).account
    with pytest.raises(SystemExit):
        connect("https://ai.example", env=env)

    assert "There is no token for https://ai.example" in capsys.readouterr().err
