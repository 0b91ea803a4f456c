"""Measurements of layers for benchmarks/layers.py."""
