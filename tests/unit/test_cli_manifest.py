"""The declarative file: YAML with places, its schema, its documentation, and the watch over it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.api import Api
from cli.manifest.diff import Action, Change, Step
from cli.manifest.marks import YamlError, read_yaml, write_yaml
from cli.manifest.plan import Options, read_files
from cli.manifest.render import lines
from cli.manifest.schema import schema_text
from cli.manifest.thing import Kind, Place
from cli.manifest.watch import Watch
from cli.session import Session
from kit.secret import Secret
from tests.fakes.management import FakeManagement, running_management
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLE = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "declarative.md").read_text(), re.MULTILINE | re.DOTALL)[
    0
]
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class TestYaml:
    """Reading with places."""

    def test_types_are_those_of_json(self) -> None:
        """Words that older YAML takes for something else are text."""
        found = read_yaml("[no, on, 2026-01-01, 010, 1:30, 1, 1.5, true, null, ~, 1_000]", "f").value

        assert ["no", "on", "2026-01-01", "010", "1:30", 1, 1.5, True, None, None, "1_000"] == found

    def test_places(self) -> None:
        """Every value and every name has its line and column, what is merged those of where it stands."""
        document = read_yaml("a: &x {b: 1}\nc:\n  <<: *x\n  d: [1, 2]\n", "f")

        assert {"a": {"b": 1}, "c": {"b": 1, "d": [1, 2]}} == document.value
        places = [document.mark(("c", "d", 1)), document.mark(("c", "b")), document.mark(("c",), key=True)]
        assert ["f:4:10", "f:1:11", "f:2:1"] == [str(place) for place in places]
        assert "f:3:3" == str(document.mark(("c", "nothing", 3)))

    def test_places_of_what_is_said_over_what_is_merged(self) -> None:
        """What an object says itself has its own place, wherever the merge stands and whatever lies below."""
        text = "a: &x {b: 1, c: {k: 1, l: 2}}\nd:\n  <<: *x\n  b: 2\n  c: {k: 5}\ne:\n  b: 3\n  <<: *x\n"
        document = read_yaml(text, "f")

        assert ({"b": 2, "c": {"k": 5}}, 3) == (document.value["d"], document.value["e"]["b"])
        assert ["f:4:6", "f:5:10", "f:5:6", "f:7:6", "f:1:21"] == [
            str(document.mark(path))
            for path in (("d", "b"), ("d", "c", "k"), ("d", "c", "l"), ("e", "b"), ("e", "c", "k"))
        ]
        assert "f:4:3" == str(document.mark(("d", "b"), key=True))

    def test_of_several_merges_the_first_counts(self) -> None:
        """As the specification of `<<` has it."""
        document = read_yaml("a: {<<: [{b: 1}, {b: 2, c: 3}]}", "f")

        assert {"a": {"b": 1, "c": 3}} == document.value
        assert "f:1:14" == str(document.mark(("a", "b")))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a: 1\nb: [\n", "f:3:1: this is not YAML"),
            ("a: 1\na: 2\n", "f:2:1: a stands here already, in line 1"),
            ("a: *b\n", "f:1:4: this is not YAML: found undefined alias"),
            ("a: &a [*a]\n", "stands within itself"),
            ("a: !!python/name:os.system x\n", "f:1:4: values of the type"),
            ("a: !!binary aGk=\n", "f:1:4: values of the type"),
            ("? [1]\n: 2\n", "f:1:3: a name is expected here"),
            ("<<: 3\n", "f:1:5: only members of an object"),
            ("a: 1\n---\nb: 1\n", "f:2:1: this is not YAML"),
            ("a: \x01\n", "f:1:1: this is not YAML"),
            ("[" * 1000, "f:1:1: this is nested too deeply"),
        ],
    )
    def test_mistakes(self, text: str, told: str) -> None:
        """What is no YAML, or none of ours, is told with its place."""
        with pytest.raises(YamlError, match=re.escape(told)):
            read_yaml(text, "f")

    def test_anchors_do_not_grow_without_bound(self) -> None:
        """A few lines that stand for very many values are refused, and soon."""
        rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        with pytest.raises(YamlError, match="more than"):
            read_yaml("\n".join(rows), "f")

    def test_merges_do_not_grow_without_bound(self) -> None:
        """Neither do merges of merges, which add nothing."""
        rows = ["a0: &a0 {x: 1}"]
        rows += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
        with pytest.raises(YamlError, match="more than"):
            read_yaml("\n".join(rows), "f")

    @settings(max_examples=200, deadline=None)
    @given(PLAIN)
    def test_what_is_written_is_read_again(self, value: Any) -> None:
        """Whatever JSON can say comes back as it was."""
        assert value == read_yaml(write_yaml(value), "f").value


class TestDocuments:
    """The schema and the page."""

    def test_the_example_holds(self, tmp_path: Path) -> None:
        """The whole file of the documentation has no mistake, and fits the schema."""
        import jsonschema  # takes seconds, which every worker would spend

        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "openai-2").write_text("sk-2")
        path = tmp_path / "headrace.yaml"
        path.write_text(EXAMPLE)
        compiled = read_files([path], Options(account="local"), env={"OPENAI_API_KEY": "sk-1"})

        assert [] == compiled.problems
        jsonschema.validate(read_yaml(EXAMPLE, "example").value, json.loads(schema_text()))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("cache_ttl: 300", "cache_ttl: -1"), ("authentication: true", "autentication: true"),
            ("permissions: [run]", "permissions: [fly]"), ("version: 1", "version: 2"),
            ("ref: vault:", "ref: vlt:"), ("secret: {env: OPENAI_API_KEY}", "secret: sk-1"),
        ],
    )  # fmt: skip
    def test_the_schema_finds_mistakes(self, old: str, new: str) -> None:
        """An editor tells what the command would."""
        import jsonschema

        assert old in EXAMPLE
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(read_yaml(EXAMPLE.replace(old, new, 1), "f").value, json.loads(schema_text()))


class TestRender:
    """The difference for people."""

    def render(self, old: Any, new: Any) -> list[str]:
        """Give the lines about one change."""
        step = Step(
            action=Action.UPDATE,
            place=Place("local", "prod", Kind.ROUTE),
            name="support",
            changes=(Change(field="elements", old=old, new=new),),
        )
        return [line.strip() for line in lines([step])]

    def test_short(self) -> None:
        """What fits on a line stands there with both values."""
        assert ["account local", "~ route prod support", "elements: [1] → null"] == self.render([1], None)

    def test_long(self) -> None:
        """Of what does not, only what differs is told; elements are known by their ids."""
        element = {"type": "model", "properties": {"model": "x" * 80}}
        old = [{"id": "a", **element}, {"id": "b", "type": "end"}]
        new = [{"id": "b", "type": "end"}, {"id": "a", **element, "type": "rate"}, {"id": "c"}]

        assert [
            "~ elements.a.type: model → rate", "+ elements.c.id: c",
        ] == self.render(old, new)[2:]  # fmt: skip


@pytest.fixture
def management() -> Iterator[FakeManagement]:
    """A management API."""
    with running_management() as running:
        yield running


class TestWatch:
    """`headrace up -f`."""

    async def test_goes_on_whatever_happens(self, management: FakeManagement, tmp_path: Path) -> None:
        """A broken edit, a missing file and an API that is away are told; the next good edit is applied."""
        path, said, away = tmp_path / "headrace.yaml", asyncio.Queue[str](), [True]
        loop = asyncio.get_running_loop()

        def connect() -> Session:
            url = f"http://127.0.0.1:{free_port()}" if away[0] else management.url
            return Session(
                api=Api(url, Secret("hr_x"), sleep=lambda _: None), account="local", own_account="local"
            )

        def say(text: str) -> None:
            loop.call_soon_threadsafe(said.put_nowait, text)

        async def told(part: str) -> None:
            async with asyncio.timeout(20):
                while part not in await said.get():
                    pass

        def write(ttl: str) -> None:
            made = tmp_path / "new"
            made.write_text(f"version: 1\naccounts: [{{gateways: [{{id: a, cache_ttl: {ttl}}}]}}]\n")
            made.replace(path)

        watch = asyncio.create_task(Watch([path], connect, Options(account="local"), say, poll_s=0.01).run())
        await told("nothing was changed")
        write("5")
        await told("does not answer")
        away[0] = False
        write("50")
        await told("the files are applied: 1 changed")
        write("soon!")
        await told("valid integer")
        assert 50 == management.kept("local/ai-gateway/gateways")[0]["cache_ttl"]
        write("500")
        await told("cache_ttl: 50 → 500")
        await told("the files are applied: 1 changed")
        assert 500 == management.kept("local/ai-gateway/gateways")[0]["cache_ttl"]
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    async def test_tries_again(self, management: FakeManagement, tmp_path: Path) -> None:
        """A service that is away is asked again until it is back, and that it is away is said once."""
        path, said, left, answer = tmp_path / "headrace.yaml", asyncio.Queue[str](), [3], management.answer
        path.write_text("version: 1\naccounts: [{gateways: [{id: a}]}]\n")

        def away(method: str, path: str, body: Any, query: Any) -> Any:
            if method == "POST" and left[0]:
                left[0] -= 1
                return 503, [{"code": 2008, "message": "router is away"}]
            return answer(method, path, body, query)

        management.answer = away  # type: ignore[method-assign]  # comes back by itself
        watch = self.watch(management, path, said)
        first = await self.next_of(said, "changes are made")
        await self.next_of(said, "the files are applied")
        management.refuse["PUT accounts/local/ai-gateway/gateways"] = (400, "no such luck", [])
        path.write_text("version: 1\naccounts: [{gateways: [{id: a, cache_ttl: 90}]}]\n")
        refused = await self.next_of(said, "no such luck")
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

        assert "0 of 1 changes are made; gateway a is not: router is away It is tried again." == first
        assert "0 of 1 changes are made; gateway a is not: no such luck" == refused
        assert (0, 1) == (left[0], sum("router is away" in each for each in self.heard))

    async def test_watches_keys(self, management: FakeManagement, tmp_path: Path) -> None:
        """A key that a file of its own holds is sent when that file changes, or comes to be."""
        path, key, said = tmp_path / "headrace.yaml", tmp_path / "key", asyncio.Queue[str]()
        path.write_text(
            "version: 1\naccounts: [{gateways: [{id: a, keys: [{provider: openai, secret: {file: key}}]}]}]\n"
        )
        watch = self.watch(management, path, said)
        await self.next_of(said, "nothing was changed")
        for text in ("sk-first-0123456789", "sk-other-0123456789"):
            made = tmp_path / "new"
            made.write_text(text)
            made.replace(key)
            await self.next_of(said, "the files are applied")
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

        sent = [body["secret"] for _, path, body in management.changes if "provider_configs" in path]
        assert ["sk-first-0123456789", "sk-other-0123456789"] == sent
        assert 2 == sum("the files are applied" in each for each in self.heard)

    heard: list[str]

    def watch(self, management: FakeManagement, path: Path, said: asyncio.Queue[str]) -> asyncio.Task[None]:
        """Begin to watch a file."""
        self.heard = []
        loop = asyncio.get_running_loop()
        api = Api(management.url, Secret("hr_x"), sleep=lambda _: None)

        def say(text: str) -> None:
            self.heard.append(text)
            loop.call_soon_threadsafe(said.put_nowait, text)

        def connect() -> Session:
            return Session(api=api, account="local", own_account="local")

        return asyncio.create_task(Watch([path], connect, Options(account="local"), say, poll_s=0.01).run())

    async def next_of(self, said: asyncio.Queue[str], part: str) -> str:
        """Wait until something is said."""
        async with asyncio.timeout(20):
            while part not in (text := await said.get()):
                pass
        return text
