"""Bedrock's Converse, as a target."""
