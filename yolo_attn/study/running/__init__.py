"""Execution of single runs: keys, processes on this machine or a Ray cluster, training, latency."""
