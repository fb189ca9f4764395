"""
Every span, attribute and metric name, once.

A name that stands here is a promise to whoever built a dashboard on it. String literals for these names
anywhere else fail a test. Names of others follow the OpenTelemetry semantic conventions (HTTP, RPC and
general names 1.44; `gen_ai.*` as of the GenAI conventions that became a repository of their own); names of
ours begin with `headrace`.

Each service appends to its own section.
"""

from __future__ import annotations

from typing import Final

# General attributes.
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
URL_FULL: Final = "url.full"
USER_AGENT_ORIGINAL: Final = "user_agent.original"

# HTTP attributes. A server span is named `{method} {route}`, a client span `{method}`.
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
HTTP_REQUEST_BODY_SIZE: Final = "http.request.body.size"
HTTP_RESPONSE_BODY_SIZE: Final = "http.response.body.size"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"

# RPC attributes. A span of either side is named by the full method, `headrace.auth.v1.AuthService/Watch`.
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"

# Values of RPC_SYSTEM_NAME.
RPC_SYSTEM_GRPC: Final = "grpc"

# GenAI attributes. An inference span is named `{operation} {request model}`, kind client.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

# GenAI attributes that hold what people wrote. Off unless the operator asks for them.
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

# Values of GEN_AI_OPERATION_NAME.
OPERATION_CHAT: Final = "chat"
OPERATION_TEXT_COMPLETION: Final = "text_completion"
OPERATION_GENERATE_CONTENT: Final = "generate_content"
OPERATION_EMBEDDINGS: Final = "embeddings"

# Attributes of ours on any span.
HEADRACE_ACCOUNT_ID: Final = "headrace.account.id"
HEADRACE_GATEWAY_ID: Final = "headrace.gateway.id"
HEADRACE_LOG_ID: Final = "headrace.log.id"
HEADRACE_PROVIDER: Final = "headrace.provider"
HEADRACE_STEP: Final = "headrace.step"
HEADRACE_ATTEMPT: Final = "headrace.attempt"
HEADRACE_CACHE_STATUS: Final = "headrace.cache.status"
HEADRACE_DIALECT: Final = "headrace.dialect"
HEADRACE_COST_NANO_USD: Final = "headrace.cost.nano_usd"

# Attributes of the resource: which process a span or metric comes from.
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

# Metrics of every process (kit/telemetry/metrics.py).
METRIC_BUILD_INFO: Final = "headrace_build_info"
METRIC_LOOP_STALL: Final = "headrace_event_loop_stall_seconds"
METRIC_LOOP_STALL_MAX: Final = "headrace_event_loop_stall_max_seconds"
METRIC_LOOP_TASKS: Final = "headrace_event_loop_tasks"
METRIC_SERVICE_READY: Final = "headrace_service_ready"

# Metrics of certificates between hosts (kit/tls.py).
METRIC_TLS_EXPIRY: Final = "headrace_tls_certificate_expiry_seconds"
METRIC_TLS_RELOADS: Final = "headrace_tls_reloads_total"

# Metrics of RPCs (kit/rpc).
METRIC_RPC_SERVER_DURATION: Final = "headrace_rpc_server_duration_seconds"
METRIC_DECISION_CACHE: Final = "headrace_decision_cache_total"

# Metrics of databases (kit/database.py).
METRIC_DATABASE_STATEMENTS: Final = "headrace_database_statements_total"

# Names of edge.
METRIC_EDGE_REQUESTS: Final = "headrace_requests_total"
METRIC_EDGE_SECONDS: Final = "headrace_request_seconds"
METRIC_EDGE_SAVED: Final = "headrace_saved_usd_total"
METRIC_EDGE_IN_FLIGHT: Final = "headrace_requests_in_flight"
METRIC_EDGE_BODIES: Final = "headrace_request_bodies_bytes"
METRIC_EDGE_NO_ROOM: Final = "headrace_requests_without_room_total"

# Metrics of the spool (services/edge/spool).
METRIC_SPOOL_PENDING_BYTES: Final = "headrace_spool_pending_bytes"
METRIC_SPOOL_OLDEST_AGE: Final = "headrace_spool_oldest_record_age_seconds"
METRIC_SPOOL_OPEN: Final = "headrace_spool_open_requests"
METRIC_SPOOL_UNWRITTEN: Final = "headrace_spool_unwritten_entries"
METRIC_SPOOL_FAILED_WRITES: Final = "headrace_spool_failed_writes_total"
METRIC_SPOOL_REFUSING: Final = "headrace_spool_refusing"
METRIC_SPOOL_REPLAYED: Final = "headrace_spool_replayed_entries_total"
METRIC_SPOOL_INTERRUPTED: Final = "headrace_spool_interrupted_entries_total"
METRIC_SPOOL_DROPPED_PAYLOADS: Final = "headrace_spool_dropped_payloads_total"
METRIC_SPOOL_CORRUPT: Final = "headrace_spool_corrupt_records_total"
METRIC_SPOOL_REFUSED: Final = "headrace_spool_refused_requests_total"
METRIC_SPOOL_REJECTED: Final = "headrace_spool_rejected_entries_total"

# Names of auth.

# Names of router.
METRIC_ROUTER_LIMITS: Final = "headrace_router_limits_total"
METRIC_ROUTER_SETTLEMENTS: Final = "headrace_router_settlements_total"
METRIC_ROUTER_COUNTERS_AWAY: Final = "headrace_router_counters_away_total"
METRIC_ROUTER_CIRCUITS_OPEN: Final = "headrace_router_circuits_open"
METRIC_ROUTER_CIRCUIT_CHANGES: Final = "headrace_router_circuit_changes_total"

# Names of cache.
METRIC_CACHE_LOOKUPS: Final = "headrace_cache_lookups_total"
METRIC_CACHE_STORED: Final = "headrace_cache_stored_total"
METRIC_CACHE_EVICTIONS: Final = "headrace_cache_evictions_total"
METRIC_CACHE_BYTES: Final = "headrace_cache_bytes"
METRIC_CACHE_ENTRIES: Final = "headrace_cache_entries"
METRIC_CACHE_CLAIMS: Final = "headrace_cache_claims_total"
METRIC_CACHE_WAITS: Final = "headrace_cache_waits_total"
METRIC_CACHE_MOVED: Final = "headrace_cache_moved_bytes_total"
METRIC_CACHE_PURGES: Final = "headrace_cache_purges_total"
METRIC_CACHE_TROUBLES: Final = "headrace_cache_valkey_troubles_total"
METRIC_CACHE_UNREADABLE: Final = "headrace_cache_unreadable_total"

# Names of ledger.
METRIC_LEDGER_RECORDED: Final = "headrace_ledger_recorded_entries_total"
METRIC_LEDGER_DUPLICATES: Final = "headrace_ledger_duplicate_entries_total"
METRIC_LEDGER_UNPRICED: Final = "headrace_ledger_unpriced_entries_total"
METRIC_LEDGER_TRIMMED: Final = "headrace_ledger_trimmed_entries_total"
METRIC_LEDGER_COST: Final = "headrace_ledger_cost_usd_total"
METRIC_LEDGER_TOKENS: Final = "headrace_ledger_tokens_total"

# Names of providers.
METRIC_PROVIDER_ATTEMPTS: Final = "headrace_provider_attempts_total"
METRIC_PROVIDER_KEY_SWITCHES: Final = "headrace_provider_key_switches_total"
METRIC_PROVIDER_FIRST_BYTE: Final = "headrace_provider_first_byte_seconds"
