"""
The image has what it needs and nothing else.

No container engine is needed: the Dockerfile's COPYs are done into a directory, and the entry point is
started from there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.image import healthy
from kit.version import VERSION
from scripts import gen_licenses
from tests.repo.dockerfile import Stage, allowed, copy, stages
from tests.repo.test_dependencies import locked, normal
from tests.repo.tree import ROOT, files

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the Kubernetes manifests and compose.yaml take for granted.
ENTRYPOINT = ["/app/.venv/bin/python", "-m", "services"]
USER = "65532:65532"
# What a digest looks like.
_PINNED = re.compile(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}")

# Packages for development that others load when they find them, and do without when not: gRPC looks for its
# generator, and setuptools has a `.pth` file.
TAKEN_WHEN_THERE = {"grpcio-tools", "setuptools"}

# Imports every module of ours, and says which distributions that took.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
from importlib.metadata import packages_distributions
import services
import cli, deploy, kit
names = [m.name for p in (kit, services, cli, deploy)
         for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")
         if ".versions." not in m.name and not m.name.endswith(("__main__", ".worker"))]
loaded = {name: importlib.import_module(name).__file__ for name in names}
owners = packages_distributions()
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({
    "files": loaded,
    "others": [getattr(m, "__file__", None) for m in sys.modules.values()],
    "distributions": sorted({d for t in tops for d in owners.get(t, ())}),
}))
"""


@pytest.fixture(scope="module")
def stage() -> dict[str, Stage]:
    """Return the stages of the Dockerfile by name; the last one is called `image`."""
    return {found.name or "image": found for found in stages()}


@pytest.fixture(scope="module")
def app(stage: dict[str, Stage], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with what the image has in /app, this environment in place of its own."""
    directory = tmp_path_factory.mktemp("image") / "app"
    copy(stage["program"], directory, list(files()))
    (directory / ".venv").symlink_to(ROOT / ".venv")
    return directory


def run(app: Path, stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's Python in its directory and environment, and in no other."""
    env = {
        "HOME": str(app),
        "HEADRACE_DATA_DIR": str(app / "data"),
        **{key: value for key, value in stage.environment({}).items() if key.startswith("PYTHON")},
    }
    program = str(app / ENTRYPOINT[0].removeprefix("/app/"))
    return subprocess.run(
        [program, *arguments], cwd=app, env=env, capture_output=True, text=True, check=False, timeout=50
    )


def test_base_is_pinned_and_of_the_version_that_is_tested(stage: dict[str, Stage]) -> None:
    """What is built and what comes out are of one base, by digest, with the Python that tests are run for."""
    bases = {found.base for found in stage.values() if found.base.startswith("python:")}
    (base,) = bases

    assert _PINNED.fullmatch(base)
    assert base.startswith("python:{}.{}.".format(*re.findall(r"\d+", _minor())))


def _minor() -> str:
    found = re.search(r'python_version = "([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None
    return found[1]


def test_last_stage_only_copies(stage: dict[str, Stage]) -> None:
    """The image that comes out was made without running anything in it, package managers included."""
    assert [] == stage["image"].all_of("RUN")
    assert [] == [rest for rest in stage["image"].all_of("COPY") if not rest.startswith("--from=")]


def test_what_manifests_assume(stage: dict[str, Stage]) -> None:
    """Entry point, user, directory and signal are those that compose.yaml and the manifests rely on."""
    image = stage["image"]

    assert ENTRYPOINT == image.listed("ENTRYPOINT")
    assert [USER] == image.all_of("USER")
    assert ["/app"] == image.all_of("WORKDIR")
    assert ["SIGTERM"] == image.all_of("STOPSIGNAL")
    assert [] == image.all_of("CMD")


def test_labels(stage: dict[str, Stage]) -> None:
    """The labels say which version this is."""
    (labels,) = stage["image"].all_of("LABEL")

    assert f'org.opencontainers.image.version="{VERSION}"' in labels


@pytest.mark.parametrize("local_model", ["0", "1"])
def test_environment_is_accepted(stage: dict[str, Stage], local_model: str) -> None:
    """The settings that the image brings are settings, with values that are accepted."""
    from kit.config import load
    from kit.runtime_config import RuntimeConfig
    from services.settings import unknown_settings

    env = stage["image"].environment({"LOCAL_MODEL": local_model})
    ours = {key: value for key, value in env.items() if key.startswith("HEADRACE_")}

    assert [] == list(unknown_settings(ours))
    assert "/var/lib/headrace" == str(load(RuntimeConfig, ours).data_dir)
    assert (local_model == "1") == load(RuntimeConfig, ours).local_enabled


def test_no_secret_is_an_argument_of_the_build() -> None:
    """Arguments and variables of a build stand in the image's history; none is a secret."""
    text = (ROOT / "Dockerfile").read_text()

    assert [] == re.findall(r"(?i)\b(?:ARG|ENV)\b.*(?:secret|token|password|api_key|credential)", text)


def test_the_build_sees_only_what_it_needs() -> None:
    """Tests, documents, manifests and the operator's own files are no part of the context."""
    seen = {str(path.relative_to(ROOT)) for path in files() if allowed(str(path.relative_to(ROOT)))}
    directories = {path.partition("/")[0] for path in seen if "/" in path}

    assert {"cli", "deploy", "gen", "kit", "requirements", "services"} == directories
    assert {"LICENSE"} == {path for path in seen if "/" not in path}
    assert [] == [path for path in seen if path.startswith(("deploy/k8s", "deploy/rehearsal"))]
    assert not any(map(allowed, (".env", ".compose/master-key", ".headrace/token", ".git/config")))


def test_everything_that_is_imported_is_there(app: Path, stage: dict[str, Stage]) -> None:
    """Every module loads from what was copied, with the packages of an image without the model."""
    done = run(app, stage["image"], "-c", IMPORT_ALL)

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    installed = set(locked("run")) - local_only()
    # Several distributions may share a package's name, such as `google`: what counts is whose file it is.
    strangers = [name for name in found["distributions"] if normal(name) not in installed]
    loaded = {Path(file).resolve() for file in found["others"] if file}
    used = [
        name
        for name in strangers
        if any(Path(file.locate()).resolve() in loaded for file in distribution(name).files or ())
    ]

    assert [] == [name for name, file in found["files"].items() if not file.startswith(str(app))]
    assert [] == [name for name in used if name not in TAKEN_WHEN_THERE]


def local_only() -> set[str]:
    """Return the packages that an image without the local model lacks."""
    text = (ROOT / "requirements" / "local-model.txt").read_text()
    return {normal(line) for line in text.splitlines() if line and not line.startswith("#")}


def test_left_out_packages_are_locked() -> None:
    """What the image can do without is something that would be installed otherwise."""
    assert local_only() <= set(locked("run"))


def test_entry_point(app: Path, stage: dict[str, Stage]) -> None:
    """The entry point answers and names every target."""
    done = run(app, stage["image"], *ENTRYPOINT[1:], "--help")

    assert 0 == done.returncode, done.stderr
    for target in ("edge", "auth", "router", "providers", "cache", "ledger", "all", "envoy", "migrate"):
        assert target in done.stdout


def test_files_that_are_no_code(app: Path) -> None:
    """Envoy's configuration and the migrations are there, the licence too."""
    migrations = {path.parent.parent.parent.name for path in app.glob("services/*/migrations/versions/*.py")}

    assert (app / "deploy/envoy/envoy.yaml").exists()
    assert (app / "LICENSE").exists()
    assert {"auth", "ledger", "router"} == migrations
    assert not (app / "tests").exists()


def test_health_check_is_in_the_image(app: Path, stage: dict[str, Stage]) -> None:
    """The health check is a file that was copied, run by the image's own Python, without a shell."""
    (rest,) = stage["image"].all_of("HEALTHCHECK")
    command = json.loads(rest[rest.index("CMD") + 3 :])

    assert ENTRYPOINT[0] == command[0]
    assert (app / command[-1].removeprefix("/app/")).is_file()


@pytest.fixture
def admin() -> Iterator[int]:
    """Serve `/readyz` with 503 and `/ready` with 200; give the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ready" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_health_check(admin: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It is as healthy as the admin endpoint says; Envoy has another path than the services."""
    address = f"0.0.0.0:{admin}"

    assert 1 == healthy.main([], {"HEADRACE_ADMIN_LISTEN": address})
    assert "503" in capsys.readouterr().err
    assert 0 == healthy.main([], {"HEADRACE_ENVOY_METRICS_LISTEN": address})
    assert 0 == healthy.main(["/ready"], {"HEADRACE_ADMIN_LISTEN": address})


def test_health_check_without_an_answer(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody who answers is not healthy, and that is all that is said."""
    assert 1 == healthy.main([], {"HEADRACE_ADMIN_LISTEN": f"0.0.0.0:{unused_tcp_port}"})
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "permitted"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("(MIT OR GPL-3.0-only) AND Apache-2.0", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("GPL-3.0-only OR MPL-2.0", False),
    ],
)
def test_licences_are_chosen_as_spdx_means(expression: str, *, permitted: bool) -> None:
    """Everything that is joined by AND must be allowed, and one of what is joined by OR."""
    assert permitted == gen_licenses.permitted(expression)


def test_every_licence_is_allowed_and_written_down() -> None:
    """Each package that runs comes under a licence that is allowed, and the page has it."""
    assert (ROOT / "docs" / "licenses.md").read_text() == gen_licenses.page(gen_licenses.packages())


def test_exceptions_are_needed() -> None:
    """An exception is for a package that is there and that would be refused without it."""
    found = {one.name: one.license for one in gen_licenses.packages()}

    assert set(gen_licenses.EXCEPTIONS) <= set(found)
    assert [] == [name for name in gen_licenses.EXCEPTIONS if gen_licenses.permitted(found[name])]
    assert set(gen_licenses.HOLDS) <= set(found)


def test_tests_run_on_the_version_of_the_image_or_newer() -> None:
    """Whoever runs these tests has a Python that the code is written for."""
    assert sys.version_info >= (3, 11)
