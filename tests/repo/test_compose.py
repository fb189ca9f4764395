"""compose.yaml is valid, hardened, and names nothing that is not there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import compose_spec
import pytest
import yaml

from deploy.envoy.config import EnvoyConfig
from kit.config import load
from kit.database_config import DatabaseConfig
from kit.runtime_config import RuntimeConfig
from kit.version import VERSION
from scripts.compose_secrets import contents, write
from services.providers.app import served_slugs
from services.providers.config import ProvidersConfig
from services.settings import configs_of, unknown_settings
from tests.repo.test_image import USER
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/prometheus.yaml").read_text())
# Who may leave the machine, and who may be reached from outside the containers.
LEAVING = {"providers", "otel-collector"}
REACHABLE = {"envoy", "prometheus", "grafana"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_PINNED = re.compile(r"[\w/.-]+:v?\d+\.\d+[\w.-]*")


def variables() -> dict[str, str]:
    """Return what compose.yaml takes from the environment, with the default of each."""
    return dict(_VARIABLE.findall((ROOT / "compose.yaml").read_text()))


def filled(text: str) -> str:
    """Return a text with the defaults filled in."""
    return _VARIABLE.sub(lambda match: match[2], text)


def sources(service: dict[str, Any]) -> list[str]:
    """Return the files of this repository that a service mounts."""
    return [volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith(".")]


def test_follows_the_specification() -> None:
    """Every key is one that Compose knows, and every time and size is written as it reads them."""
    compose_spec.PyCompose.from_json(filled(json.dumps(COMPOSE))).validate()


def test_a_key_that_compose_does_not_know_is_found() -> None:
    """The check above can fail."""
    wrong = {"services": {"edge": {"image": "headrace:0.1.0", "read_onyl": True}}}

    with pytest.raises(ValueError, match="read_onyl"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_variables_are_listed_with_their_defaults() -> None:
    """`.env.example` has every variable, and what it shows is what happens without it."""
    text = (ROOT / ".env.example").read_text()
    listed = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))

    assert variables() == listed


def test_variables_have_defaults() -> None:
    """`docker compose up` needs no file `.env`."""
    assert [] == re.findall(r"\$\{\w+\}", (ROOT / "compose.yaml").read_text())


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_are_there(name: str) -> None:
    """What is mounted from the repository is in it; an engine would make a directory of what is not."""
    assert [] == [path for path in sources(SERVICES[name]) if not (ROOT / path).exists()]
    assert [] == [path for path in sources(SERVICES[name]) if not is_read_only(SERVICES[name], path)]


def is_read_only(service: dict[str, Any], path: str) -> bool:
    """Say whether a mount of this repository cannot be written from inside."""
    return any(volume.startswith(f"{path}:") and volume.endswith(":ro") for volume in service["volumes"])


def test_secrets_are_those_that_are_made() -> None:
    """Every secret is a file that `make compose-secrets` makes, and each that it makes is used."""
    files = {secret["file"].removeprefix(".compose/") for secret in COMPOSE["secrets"].values()}
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}

    assert set(contents()) == files
    assert set(COMPOSE["secrets"]) == used


def test_secrets_are_mounted_where_they_are_looked_for() -> None:
    """A service that is told of a file below /run/secrets has it."""
    wrong = []
    for name, service in SERVICES.items():
        named = set(re.findall(r"/run/secrets/([\w-]+)", json.dumps(service)))
        if named != set(service.get("secrets", [])):
            wrong.append(name)

    assert [] == wrong


def test_no_secret_stands_in_the_file() -> None:
    """Passwords and keys are files; no variable holds one."""
    named = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|_URL")
    wrong = [
        f"{name}: {variable}"
        for name, service in SERVICES.items()
        for variable in service.get("environment", {})
        if named.search(variable) and not variable.endswith("FILE")
    ]

    assert [] == wrong


def test_making_secrets_again_changes_nothing(tmp_path: Path) -> None:
    """What is there stays, and is for nobody else on this machine."""
    directory = tmp_path / "secrets"
    first = write(directory, contents())
    before = {path.name: path.read_text() for path in directory.iterdir()}

    assert sorted(contents()) == sorted(first)
    assert [] == write(directory, contents())
    assert before == {path.name: path.read_text() for path in directory.iterdir()}
    assert 0o700 == directory.stat().st_mode & 0o777


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    """A new password beside the address with the old one would lock the services out."""
    write(tmp_path, contents())
    (tmp_path / "database-url").unlink()

    with pytest.raises(SystemExit, match="database-password"):
        write(tmp_path, contents())


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned(name: str) -> None:
    """Every image has a version; ours is the one that this repository makes."""
    image = filled(SERVICES[name]["image"])

    assert _PINNED.fullmatch(image)
    assert f"headrace:{VERSION}" == image or name not in OURS


@pytest.mark.parametrize("name", SERVICES)
def test_is_hardened(name: str) -> None:
    """No root, no capability, nothing that can be written but what is named."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert not service["user"].startswith(("0:", "root"))
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", OURS)
def test_runs_a_target_of_ours(name: str) -> None:
    """The command is a target, as the user of the image, with settings that exist."""
    service = SERVICES[name]
    settings = {key: str(value) for key, value in service["environment"].items()}

    assert [name] == service["command"]
    assert USER == service["user"]
    assert [] == list(unknown_settings({key: filled(value) or "x" for key, value in settings.items()}))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of new secrets."""
    directory = tmp_path_factory.mktemp("secrets")
    write(directory, contents())
    return directory


@pytest.mark.parametrize("name", OURS)
def test_settings_are_accepted(name: str, secrets: Path) -> None:
    """Every value is one that the service takes, those in the files that are made included."""
    text = filled(json.dumps(SERVICES[name]["environment"])).replace("/run/secrets", str(secrets))
    env = {key: value for key, value in json.loads(text).items() if value}
    classes = {
        "envoy": [RuntimeConfig, EnvoyConfig],
        "migrate": [RuntimeConfig, DatabaseConfig],
    }.get(name, [RuntimeConfig, *configs_of([name])])

    for config in classes:
        load(config, env)
    if "database-url" in SERVICES[name].get("secrets", []):
        assert load(DatabaseConfig, env).url is not None


@pytest.mark.parametrize("in_image", [True, False])
def test_the_local_model_is_served_where_the_image_has_it(*, in_image: bool) -> None:
    """The one process of providers serves the local model too, and does without it in an image without it."""
    env = {key: filled(str(value)) for key, value in SERVICES["providers"]["environment"].items()}
    env["HEADRACE_LOCAL_ENABLED"] = str(in_image).lower()  # as the image says
    settings = load(RuntimeConfig, {key: value for key, value in env.items() if value})
    served = served_slugs(ProvidersConfig(), settings.process, local_model=settings.local_enabled)

    assert in_image == ("local" in served)


@pytest.mark.parametrize("name", OURS)
def test_time_to_stop(name: str) -> None:
    """An engine waits longer than a process takes: drain delay, grace, and 15 s."""
    service = SERVICES[name]
    env = service["environment"]
    needed = float(env["HEADRACE_DRAIN_DELAY_S"]) + float(env["HEADRACE_GRACE_S"]) + 15

    assert needed <= float(service["stop_grace_period"].removesuffix("s"))


def test_health_checks_need_no_shell() -> None:
    """A health check is a program and its arguments."""
    tests = {
        name: s["healthcheck"]["test"] for name, s in SERVICES.items() if "test" in s.get("healthcheck", {})
    }

    assert {"CMD"} == {test[0] for test in tests.values()}


def test_dependencies_are_there_and_can_be_waited_for() -> None:
    """What is waited for has a health check: the image's, or one of its own."""
    wrong = []
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            checked = other in OURS or "healthcheck" in SERVICES[other]
            if how["condition"] == "service_healthy" and not checked:
                wrong.append(f"{name} waits for {other}")

    assert [] == wrong


def test_networks() -> None:
    """Only providers and the collector leave the machine; only Envoy and the screens can be reached."""
    on = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }

    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert set(SERVICES) == on["inside"]
    assert LEAVING == on["outside"]
    assert REACHABLE == on["front"]
    assert REACHABLE == {name for name, service in SERVICES.items() if service.get("ports")}


def test_ports_are_for_this_machine_alone() -> None:
    """Nothing is published to other machines unless somebody says so."""
    ports = [filled(port) for service in SERVICES.values() for port in service.get("ports", [])]

    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_prometheus_asks_every_service() -> None:
    """Each service with an admin port is asked, and nothing that is not there."""
    asked = {
        name
        for job in PROMETHEUS["scrape_configs"]
        for found in job.get("dns_sd_configs", [])
        for name in found["names"]
    }

    assert set(OURS) - {"migrate"} == asked
