"""Simulated studies, which the benchmarks and the tests of the statistics share."""
