"""What is said when everything is ready: a request to paste, and where things are."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Final

from cli.ready import connectable

if TYPE_CHECKING:
    from pathlib import Path

    from cli.config import CliConfig
    from cli.processes import Topology

__all__ = ["welcome"]

_LOCAL_MODEL: Final = "local/smollm2-135m-instruct"
_KEYED_MODEL: Final = "openai/gpt-4o-mini"


def welcome(config: CliConfig, topology: Topology, token_file: Path, *, elapsed_s: float) -> str:
    """Return the text. The `curl` in it works as pasted, from any directory."""
    base = f"http://{_in_url(connectable(config.host))}:{config.port}"
    token = f"$(cat {shlex.quote(str(token_file))})"
    model = _LOCAL_MODEL if topology.local_model else _KEYED_MODEL
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is Cloudflare?"}]})
    lines = [
        f"Headrace is ready after {elapsed_s:.1f} s. Try it:",
        "",
        f"  curl {base}/v1/chat/completions \\",
        f'    -H "Authorization: Bearer {token}" \\',
        "    -H 'Content-Type: application/json' \\",
        f"    -d {shlex.quote(body)}",
        "",
    ]
    if not topology.local_model:
        lines += [
            "  (needs a key of that provider: set HEADRACE_PROVIDER_OPENAI_API_KEY before the start)",
            "",
        ]
    lines.append(f'For OpenAI\'s SDKs:  export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY="{token}"')
    if topology.envoy or not topology.inline:
        lines.append(f"gRPC:               {connectable(config.host)}:{config.grpc_port}")
    lines.append("Logs:               ./headrace logs tail --follow      Ctrl-C stops everything.")
    return "\n".join(lines)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
