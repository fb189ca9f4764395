"""What is watched: rules for Prometheus, and tables that the dashboards of Grafana are made from."""

from __future__ import annotations
