"""Envoy has the metrics that rules and dashboards ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploy.certificates import Authority, lay
from deploy.envoy.render import PublicTls
from tests.fakes.front_door import running_front_door
from tests.fakes.ports import free_port
from tests.repo.metrics_of_others import ENVOY

if TYPE_CHECKING:
    from pathlib import Path


async def test_envoy_has_what_is_asked_for(tmp_path: Path) -> None:
    """After one request, each of them is there, by the name and kind under which it is asked for."""
    lay(tmp_path / "public", Authority.new().issue(dns=["localhost"]))
    port = free_port()
    tls = PublicTls(
        directory=tmp_path / "public", port=port, http3_port=port, grpc_port=free_port(), alt_svc=":443"
    )
    async with running_front_door(tmp_path, public_tls=tls) as door:
        async with door.http.get(f"{door.url}/v1/models") as answer:
            assert 200 == answer.status
        text = await door.admin("/stats/prometheus")

    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert set() == ENVOY - set(kinds)
    assert {"histogram"} == {kinds[name] for name in ENVOY if name.endswith("_rq_time")}
    assert re.search(
        r'^envoy_listener_ssl_certificate_expiration_unix_time_seconds\{envoy_tls_certificate="public-certificate"',
        text,
        re.MULTILINE,
    )
    assert (
        'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="http"}'
        in text
    )
