"""
Measures what Headrace costs: `make bench`.

Counts CPU seconds, not wall-clock ones, so that a noisy machine spoils latencies only; everything is
measured in one run beside a direct call, Envoy alone and a minimal proxy, and told as ratios to those.
"""
