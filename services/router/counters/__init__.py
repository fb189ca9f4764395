"""Counters of limits: in memory, and in Valkey for several replicas of router."""
