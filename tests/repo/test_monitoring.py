"""Rules and dashboards ask for what there is, say what they mean, and every alert has its runbook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import prometheus_client
import promql_parser
import pytest
import yaml

from deploy.monitoring.panels import dashboard_json, read
from kit.telemetry import names
from kit.telemetry.metrics import new_registry
from tests.repo.k8s import of_kind, pods
from tests.repo.metrics_of_others import ENVOY, KUBERNETES, PROCESS, PROMETHEUS
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

RULES = sorted((ROOT / "deploy/monitoring/rules").glob("*.yaml"))
TABLES = sorted((ROOT / "deploy/monitoring/dashboards").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = sorted((ROOT / "deploy/k8s/components/grafana/dashboards").glob("*.json"))
SECTIONS = ["Meaning", "Impact", "How to look", "How to mend", "How to prevent"]
SEVERITIES = {"info", "warning", "critical"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# From the start of a pod until it is ready, when nothing is wrong.
START_S = 15
# Suffixes of what a histogram is asked for.
_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def targets() -> list[str]:
    """Return every query of every dashboard, the variables of Grafana filled in."""
    found = [
        target["expr"]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    return [text.replace("$__rate_interval", "5m").replace("$__range", "6h") for text in found]


QUERIES = [*(rule["expr"] for rule in rules()), *targets()]


def seconds(text: str) -> int:
    """Return how long a duration such as `15m` is."""
    return int(text[:-1]) * SECONDS[text[-1]]


def slowest_edge_s() -> int:
    """Return how long one edge takes to be replaced at most: its streams end, and it counts as there."""
    (edge,) = of_kind("overlays/production", "StatefulSet")
    (pod,) = (each for each in pods("overlays/production") if each.name == edge["metadata"]["name"])
    return int(pod.spec["terminationGracePeriodSeconds"]) + START_S + int(edge["spec"]["minReadySeconds"])


def most_edges() -> int:
    """Return how many edges the autoscaler makes at most."""
    (most,) = (
        each["spec"]["maxReplicas"]
        for each in of_kind("overlays/production", "HorizontalPodAutoscaler")
        if each["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    )
    return int(most)


def selectors(queries: Iterable[str]) -> list[promql_parser.VectorSelector]:
    """Return what queries select."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    for query in queries:
        promql_parser.walk(promql_parser.parse(query), visit)
    return found


def metric(name: str) -> str:
    """Return the metric that a series belongs to."""
    ours = {value for key, value in vars(names).items() if key.startswith("METRIC_")}
    return name if name in ours | ENVOY | PROCESS else _HISTOGRAM.sub("", name)


def test_promql_is_valid() -> None:
    """Each expression can be read by Prometheus."""
    wrong = []
    for query in QUERIES:
        try:
            promql_parser.parse(query)
        except ValueError as error:
            wrong.append(f"{query}: {error}")

    assert [] == wrong


def test_every_metric_exists() -> None:
    """What is asked for is counted by us, is known of Envoy and others, or is recorded by a rule."""
    ours = {value for key, value in vars(names).items() if key.startswith("METRIC_")}
    known = ours | ENVOY | PROCESS | KUBERNETES | PROMETHEUS | RECORDED
    asked = {metric(selector.name) for selector in selectors(QUERIES) if selector.name}

    assert set() == asked - known


def test_lists_of_others_hold_nothing_more() -> None:
    """The lists name what is asked for, so that what they are compared with is all of it."""
    asked = {metric(selector.name) for selector in selectors(QUERIES) if selector.name}

    assert set() == (ENVOY | PROCESS | KUBERNETES | PROMETHEUS) - asked


def test_metrics_of_a_process_are_there() -> None:
    """The client library gives what is asked for of a process."""
    text = prometheus_client.generate_latest(new_registry("test")).decode()

    assert set() == PROCESS - set(re.findall(r"^(\w+)[ {]", text, re.MULTILINE))


def test_counters_are_not_read_as_they_stand() -> None:
    """A counter is asked for its rate or increase: what it stands at depends on when its process began."""
    wrong = [
        query
        for query in QUERIES
        for name in re.findall(r"headrace_\w+_total", query)
        if not re.search(rf"(?:rate|increase|changes)\({name}[^)]*\[", query)
    ]

    assert [] == wrong


def test_everything_recorded_is_used() -> None:
    """A recording rule is there for somebody."""
    asked = {selector.name for selector in selectors(QUERIES)}

    assert set() == RECORDED - asked


def test_clusters_of_envoy_exist() -> None:
    """What is asked of Envoy by the name of a listener or cluster is about one that there is."""
    configuration = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    prefixes = set(re.findall(r"stat_prefix: (\w+)", configuration))
    clusters = set(re.findall(r"cluster_name: (\w+)", configuration))
    found = {(m.name, m.value) for s in selectors(QUERIES) for m in s.matchers.matchers}
    asked = {
        label: {word for name, value in found if name == label for word in value.split("|")}
        for label in ("envoy_http_conn_manager_prefix", "envoy_cluster_name")
    }

    # Envoy's own admin interface is asked by nobody but ourselves.
    assert set() == asked["envoy_http_conn_manager_prefix"] - prefixes - {"admin"}
    assert [] == [
        pattern
        for pattern in asked["envoy_cluster_name"]
        if not any(re.fullmatch(pattern, cluster) for cluster in clusters)
    ]


@pytest.mark.parametrize("alert", ALERTS, ids=[f"{at}-{alert['alert']}" for at, alert in enumerate(ALERTS)])
def test_alert_says_what_it_means(alert: dict[str, Any]) -> None:
    """An alert has a severity, a sentence for a telephone's screen, one more, and its runbook."""
    annotations = alert["annotations"]

    assert alert["alert"].startswith("Headrace")
    assert alert["labels"]["severity"] in SEVERITIES
    assert {"summary", "description", "runbook_url"} == set(annotations)
    assert annotations["summary"].endswith(".")
    assert annotations["description"].rstrip(")").endswith(".")
    assert f"docs/runbooks/{alert['alert']}.md" == annotations["runbook_url"]


def test_alerts_keep_their_namespace() -> None:
    """An alert says which installation it is about: what sums, sums by namespace at least."""
    wrong = [
        alert["alert"]
        for alert in ALERTS
        for by in re.findall(r"\b(?:sum|min|max|count)\b ?(?:by \(([^)]*)\) )?\(", alert["expr"])
        if "namespace" not in by
    ]

    assert [] == wrong


def test_one_event_does_not_last_as_long_as_an_alert_waits() -> None:
    """What happened once counts for as long as the window that it is in: `for` is no shorter than that."""
    wrong = [
        alert["alert"]
        for alert in ALERTS
        for window in re.findall(r"increase\([^)]*\[(\w+)\]\){1,2} > 0", alert["expr"])
        if "for" in alert and seconds(alert["for"]) < seconds(window)
    ]

    assert [] == wrong


@pytest.mark.xdist_group("k8s")  # rendered once
def test_an_ordinary_roll_out_wakes_nobody() -> None:
    """Edges go one by one: none takes so long that it looks stuck, nor all that versions look mixed."""
    found = {
        alert["alert"]: alert
        for alert in ALERTS
        if "statefulset" in alert["expr"] or alert["alert"] == "HeadraceVersionsMixed"
    }
    stuck, mixed = found["HeadraceRolloutStuck"], found["HeadraceVersionsMixed"]
    windows = re.findall(r"changes\((\w+)\{[^}]*\}\[(\w+)\]", stuck["expr"])
    page = (ROOT / "docs" / "upgrading.md").read_text()
    ((each_m, more_m),) = re.findall(r"statefulset/edge --timeout=\$\(\(edges \* (\d+) \+ (\d+)\)\)m", page)

    assert {"kube_statefulset_status_replicas_updated", "kube_statefulset_status_replicas_ready"} == {
        name for name, _ in windows
    }
    assert [] == [window for _, window in windows if seconds(window) <= 1.5 * slowest_edge_s()]
    assert seconds(mixed["for"]) > 1.25 * most_edges() * slowest_edge_s()
    assert int(each_m) * 60 > slowest_edge_s()
    assert int(more_m) >= 10  # the migration, for which new pods wait


def test_every_alert_has_its_runbook() -> None:
    """There is a page for each alert, and an alert for each page."""
    assert {alert["alert"] for alert in ALERTS} == {path.stem for path in RUNBOOKS.glob("Headrace*.md")}


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("Headrace*.md")), ids=lambda path: str(path.stem))
def test_runbook_is_whole(path: Any) -> None:
    """A runbook says what it means, whom it hurts, where to look, how to mend it and how to prevent it."""
    text = path.read_text()

    assert [path.stem] == re.findall(r"^# (.+)$", text, re.MULTILINE)
    assert SECTIONS == re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [] == [
        section for section in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:] if len(section) < 40
    ]


def test_page_lists_every_alert() -> None:
    """The page about monitoring has a row for each alert, with its severities and a link to its runbook."""
    page = (ROOT / "docs" / "monitoring.md").read_text()
    listed = re.findall(r"^\| \[(Headrace\w+)\]\(runbooks/(\w+)\.md\) \| ([\w, ]+) \|", page, re.MULTILINE)
    wanted: dict[str, list[str]] = {}
    for alert in ALERTS:
        wanted.setdefault(alert["alert"], []).append(alert["labels"]["severity"])

    assert {name: ", ".join(dict.fromkeys(found)) for name, found in wanted.items()} == {
        a: s for a, _, s in listed
    }
    assert [] == [name for name, file, _ in listed if name != file]


def test_certificates_are_renewed_before_somebody_is_woken() -> None:
    """The alert about certificates between services is silent as long as cert-manager renews them in time."""
    manifests = yaml.safe_load_all((ROOT / "deploy/k8s/components/mtls/certificates.yaml").read_text())
    left_h = {int(each["spec"]["renewBefore"].removesuffix("h")) for each in manifests if each}
    asking = [alert["expr"] for alert in ALERTS if "headrace_tls_certificate" in alert["expr"]]
    bounds = [expression.rpartition("<")[2] for expression in asking]

    assert 2 == len(bounds)
    for bound in bounds:
        hours, seconds = bound.split("*")
        # A try that fails is made again within hours.
        assert int(hours) * int(seconds) <= (min(left_h) - 4) * 3600


def test_generated_files_are_up_to_date() -> None:
    """What Kubernetes and Grafana read is what the tables say."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/gen_monitoring.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))
def test_dashboard_is_valid(path: Any) -> None:
    """Panels have numbers of their own and do not overlap, and everything goes to the chosen Prometheus."""
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert path.stem == dashboard["uid"]
    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {"${datasource}"} == set(re.findall(r'"type": "prometheus",\s+"uid": "([^"]+)"', path.read_text()))
    assert "$filter" not in path.read_text()


def test_dashboards_have_names_of_their_own() -> None:
    """No two dashboards share a title, and each is mounted by the component."""
    titles = [json.loads(path.read_text())["title"] for path in DASHBOARDS]
    component = (ROOT / "deploy/k8s/components/grafana/kustomization.yaml").read_text()

    assert len(titles) == len(set(titles))
    assert {f"dashboards/{path.name}" for path in DASHBOARDS} == set(
        re.findall(r"dashboards/[\w-]+\.json", component)
    )


def test_dashboard_variables_are_used() -> None:
    """What people can choose makes a difference."""
    for path in TABLES:
        dashboard = read(yaml.safe_load(path.read_text()))
        queries = [q.expr for row in dashboard.rows for panel in row.panels for q in panel.queries]

        assert any("$filter" in query for query in queries)
        assert "namespace" in [v["name"] for v in dashboard_json(dashboard)["templating"]["list"]]


def test_a_word_that_means_nothing_is_refused() -> None:
    """A mistake in a dashboard's table is an error, and not a panel that lacks something."""
    panel = {"title": "t", "queries": [{"expr": "up"}], "colour": "red"}

    with pytest.raises(TypeError, match="colour"):
        read({"uid": "u", "title": "t", "doc": "d", "rows": [{"title": "r", "panels": [panel]}]})


def test_every_metric_of_ours_is_watched_or_left_out_on_purpose() -> None:
    """A metric that nobody looks at is for nobody."""
    ours = {value for key, value in vars(names).items() if key.startswith("METRIC_")}
    asked = {metric(selector.name) for selector in selectors(QUERIES) if selector.name}
    unwatched = {
        "headrace_cache_entries",  # bytes say more
        "headrace_cache_purges_total",  # stands in the audit log
        "headrace_decision_cache_total",  # reserved
        "headrace_ledger_trimmed_entries_total",  # as the operator asked
        "headrace_rpc_server_duration_seconds",  # reserved
        "headrace_spool_open_requests",  # the same as requests that run
        "headrace_spool_replayed_entries_total",  # the ledger counts the same
    }

    assert unwatched == ours - asked


COLLECTOR: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy/k8s/components/otel-collector/collector.yaml").read_text()
)
# Of the distribution `otelcol`, which has the fewest parts.
PARTS = {
    "receivers": {"otlp"},
    "processors": {"memory_limiter", "attributes", "batch"},
    "exporters": {"otlp_grpc"},
    "extensions": {"health_check"},
}


def test_collector_is_made_of_parts_that_it_has() -> None:
    """Each part is one of the small distribution, and what is described is what is used."""
    (pipeline,) = COLLECTOR["service"]["pipelines"].values()
    used = {**pipeline, "extensions": COLLECTOR["service"]["extensions"]}

    for kind, parts in PARTS.items():
        assert parts == {name.partition("/")[0] for name in COLLECTOR[kind]}
        assert sorted(COLLECTOR[kind]) == sorted(used[kind])
    assert "memory_limiter" == pipeline["processors"][0]


def test_collector_keeps_what_we_emit_and_deletes_what_people_wrote() -> None:
    """Attributes that could hold a prompt, a header or a secret go; those of the documented spans stay."""
    rules = [
        re.compile(action["pattern"].replace("$$", "$"))
        for action in COLLECTOR["processors"]["attributes/redaction"]["actions"]
    ]
    emitted, _, _ = (ROOT / "docs" / "telemetry.md").read_text().partition("## Metrics")
    kept = set(re.findall(r"^\| `([a-z_.]+)` \|", emitted, re.MULTILINE))
    gone = {
        names.GEN_AI_INPUT_MESSAGES,
        names.GEN_AI_OUTPUT_MESSAGES,
        names.GEN_AI_SYSTEM_INSTRUCTIONS,
        names.GEN_AI_TOOL_DEFINITIONS,
        "http.request.header.authorization",
        "http.response.header.set-cookie",
        "Proxy-Authorization",
        "db.query.text",
        "aws.api_key",
    }

    assert kept
    assert [] == [name for name in kept if any(rule.search(name) for rule in rules)]
    assert [] == [name for name in gone if not any(rule.search(name) for rule in rules)]
