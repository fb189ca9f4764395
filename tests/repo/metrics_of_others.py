"""Metrics of others that rules and dashboards ask for, by who gives them."""

from __future__ import annotations

from typing import Final

__all__ = ["ENVOY", "KUBERNETES", "PROCESS", "PROMETHEUS"]

# tests/integration/test_envoy_metrics.py asks a real Envoy for these.
ENVOY: Final = frozenset(
    {
        "envoy_cluster_membership_healthy",
        "envoy_cluster_membership_total",
        "envoy_cluster_outlier_detection_ejections_active",
        "envoy_cluster_upstream_cx_connect_fail",
        "envoy_cluster_upstream_rq_retry",
        "envoy_cluster_upstream_rq_time",
        "envoy_http_downstream_cx_http1_active",
        "envoy_http_downstream_cx_http2_active",
        "envoy_http_downstream_cx_http3_active",
        "envoy_http_downstream_cx_protocol_error",
        "envoy_http_downstream_cx_rx_bytes_total",
        "envoy_http_downstream_cx_tx_bytes_total",
        "envoy_http_downstream_rq_active",
        "envoy_http_downstream_rq_header_timeout",
        "envoy_http_downstream_rq_idle_timeout",
        "envoy_http_downstream_rq_rx_reset",
        "envoy_http_downstream_rq_time",
        "envoy_http_downstream_rq_xx",
        "envoy_listener_downstream_global_cx_overflow",
        "envoy_listener_ssl_certificate_expiration_unix_time_seconds",
        "envoy_overload_envoy_overload_actions_stop_accepting_requests_active",
        "envoy_overload_envoy_resource_monitors_fixed_heap_pressure",
        "envoy_overload_envoy_resource_monitors_global_downstream_max_connections_pressure",
        "envoy_server_days_until_first_cert_expiring",
        "envoy_server_hot_restart_epoch",
        "envoy_server_memory_allocated",
        "envoy_server_memory_heap_size",
    }
)

# Of the client library, on Linux. tests/repo/test_monitoring.py asks it.
PROCESS: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }
)

# Of kube-state-metrics, and of the kubelet (the last one). Their documents list them as stable.
KUBERNETES: Final = frozenset(
    {
        "kube_deployment_status_condition",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "kube_horizontalpodautoscaler_status_desired_replicas",
        "kube_job_failed",
        "kube_pod_container_resource_limits",
        "kube_statefulset_replicas",
        "kube_statefulset_status_replicas_ready",
        "kube_statefulset_status_replicas_updated",
        "container_memory_working_set_bytes",
    }
)

# Made by Prometheus itself.
PROMETHEUS: Final = frozenset({"up"})
