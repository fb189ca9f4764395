"""Log lines: their form, and that no secret is in them."""

from __future__ import annotations

import io
import json
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kit import logs
from kit.redaction import TEXT_MAX_CHARS, mask_text, mask_value
from kit.secret import Secret
from kit.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Logging is a process's own; put it back as the test runner has it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


def captured(write: Callable[[], object], **options: Any) -> list[dict[str, Any]]:
    """Return the lines that are written as JSON."""
    out = io.StringIO()
    logs.configure("auth", **{"form": "json", "stream": out, **options})
    write()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_line_has_the_common_fields() -> None:
    """A line says when, how severe, which service, what; and what the caller adds."""
    (line,) = captured(lambda: logs.get("router", "plan").info("planned", steps=2))

    assert ["time", "level", "service", "event"] == list(line)[:4]
    assert {"level": "info", "service": "router", "event": "planned", "component": "plan", "steps": 2} == {
        key: value for key, value in line.items() if key != "time"
    }
    assert line["time"].endswith("Z")


def test_line_of_a_request_has_its_trace() -> None:
    """Lines written while a call is handled carry its trace id, even when tracing is off."""

    def write() -> None:
        with Tracing("auth").server_span("x", {"traceparent": TRACEPARENT}):
            logs.get("auth", "x").info("inside")
        logs.get("auth", "x").info("outside")

    inside, outside = captured(write)

    assert TRACEPARENT[3:35] == inside["trace_id"]
    assert "trace_id" not in outside


def test_level_is_honoured() -> None:
    """What is less severe than asked for is not written."""

    def write() -> None:
        log = logs.get("auth", "x")
        log.info("quiet")
        log.warning("loud")

    assert ["loud"] == [line["event"] for line in captured(write, level="warning")]


def test_exception_is_one_field() -> None:
    """A traceback is a field of its line, without secrets."""

    def write() -> None:
        try:
            int("Incorrect API key provided: sk-proj-abcdefghijklmnopqrst")
        except ValueError:
            logs.get("auth", "x").exception("failed")

    (line,) = captured(write)

    assert "error" == line["level"]
    assert line["exception"].endswith("'Incorrect API key provided: sk-***'")


def test_libraries_are_heard_from_warning_on() -> None:
    """What libraries log at warning or above, and Python's warnings, become lines of ours."""

    def write() -> None:
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("trouble with %s", "Bearer abcdefghijklmnop")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logs.configure("auth", form="json", stream=out)  # as the process does, after the runner's own
            warnings.warn("deprecated", UserWarning, stacklevel=1)

    out = io.StringIO()
    logs.configure("auth", form="json", stream=out)
    write()
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]

    assert ("warning", "some.library", "trouble with Bearer ***") == (
        first["level"],
        first["component"],
        first["event"],
    )
    assert "UserWarning: deprecated" in second["event"]


def test_text_is_for_people() -> None:
    """The text form is one readable line without escape codes when it is not on a terminal."""
    out = io.StringIO()
    logs.configure("auth", form="text", stream=out)
    logs.get("auth", "store").info("opened", path="/x")

    assert "opened" in out.getvalue()
    assert "path=/x" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_closed_output_harms_nobody() -> None:
    """A log line that cannot be written is lost, and the request that wrote it goes on."""
    out = io.StringIO()
    logs.configure("auth", form="json", stream=out)
    out.close()

    logs.get("auth", "x").error("lost")


def key_of(prefix: str, alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet=alphabet, min_size=size, max_size=size).map(lambda rest: prefix + rest)


SECRETS = st.one_of(
    st.tuples(key_of("hr_", "abcdefghijklmnopqrstuvwxyz234567", 12), key_of("_", ALNUM + "-_", 43)).map(
        "".join
    ),
    key_of("sk-", ALNUM, 48),
    key_of("sk-proj-", ALNUM + "-_", 80),
    key_of("sk-ant-api03-", ALNUM + "-_", 95),
    key_of("AIza", ALNUM + "-_", 35),
    key_of("gsk_", ALNUM, 52),
    key_of("xai-", ALNUM, 80),
    key_of("hf_", ALNUM, 34),
    key_of("AKIA", BASE32.upper(), 16),
    key_of("Bearer ", ALNUM, 20),
    key_of("?key=", ALNUM, 20),
    key_of('"api_key": "', ALNUM, 32),
    key_of("x-api-key: ", ALNUM, 32),
    st.tuples(key_of("eyJ", ALNUM, 20), key_of(".", ALNUM, 20), key_of(".", ALNUM, 43)).map("".join),
)


@given(
    before=st.text(max_size=40),
    secret=SECRETS,
    after=st.sampled_from(["", " ", '"', ",", "\n", "}", ")", ";"]),
)
def test_secret_is_masked_wherever_it_stands(before: str, secret: str, after: str) -> None:
    """Whatever surrounds a key, what makes it a key does not get through."""
    assume(secret[-12:] not in before)
    masked = mask_text(f"{before}{secret}{after}")

    assert secret[-12:] not in masked
    assert "***" in masked


@given(secret=SECRETS, depth=st.integers(0, 5), as_key=st.booleans())
def test_secret_is_masked_inside_containers(secret: str, depth: int, as_key: bool) -> None:  # noqa: FBT001 - drawn
    """Nesting hides nothing, neither in values nor in names."""
    value: object = {secret: 1} if as_key else [secret]
    for _ in range(depth):
        value = {"inner": (value,)}

    assert secret[-12:] not in json.dumps(mask_value("field", value))


TELLING_NAMES = (
    "authorization",
    "Authorization",
    "cf-aig-authorization",
    "api_key",
    "x-api-key",
    "apiKey",
    "token",
    "auth_token",
    "HEADRACE_MASTER_KEY",
    "password",
    "client_secret",
    "set-cookie",
    "x-goog-api-key",
    "credential",
)


@pytest.mark.parametrize("name", TELLING_NAMES)
def test_value_of_a_telling_name_is_masked(name: str) -> None:
    """A field whose name says that it is a secret shows nothing, whatever its value looks like."""
    assert "***" == mask_value(name, "plain")
    assert "***" == mask_value(name, ["plain"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("token_count", 5),
        ("token_id", "abc"),
        ("cache_key", "5f2d"),
        ("model", "gpt-4o-mini"),
        ("event", "the task is done, the disk is full, a token was revoked"),
        ("url", "https://api.openai.com/v1/chat/completions?stream=true"),
        ("log_id", "0193f3e2-7d1c-7c3e-8f00-0123456789ab"),
        ("path", "/srv/headrace/run/auth.sock"),
        ("token", None),
        ("token", 7),
    ],
)
def test_harmless_value_is_left(name: str, value: object) -> None:
    """What people need to read in a log stays readable."""
    assert value == mask_value(name, value)


def test_wrapped_secret_and_body_are_not_shown() -> None:
    """A wrapped secret is a mask and bytes are their length, under any name."""
    assert "***" == mask_value("x", Secret("abc"))
    assert "<3 bytes>" == mask_value("x", b"abc")
    assert {"inner": "***"} == mask_value("x", {"inner": Secret("abc")})


def test_size_is_bounded() -> None:
    """What is long, deep or wide is cut, and a key that lies on the cut does not get through."""
    key = "sk-" + "k" * 60
    deep: object = "x"
    for _ in range(50):
        deep = [deep]
    texts = [mask_text("a " * (half // 2) + key + " b" * 20_000) for half in range(6000, 6300, 7)]

    assert all(len(text) < TEXT_MAX_CHARS + 50 for text in texts)
    assert not any("kkkkkkkk" in text for text in texts)
    assert len(json.dumps(mask_value("x", deep))) < 100
    assert len(json.dumps(mask_value("x", list(range(100_000))))) < 10_000


@pytest.mark.parametrize(
    "piece", ["eyJ", "sk-", "token", "://a:", "-----BEGIN PRIVATE KEY-----", "hr_a", "bearer ", "token  : "]
)
def test_no_text_takes_long(piece: str) -> None:
    """Text made to be hard to search costs no more than tens of milliseconds."""
    began_s = time.process_time()
    mask_text(piece * (1_000_000 // len(piece)))

    assert time.process_time() - began_s < 0.5
