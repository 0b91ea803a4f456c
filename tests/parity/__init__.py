"""Parity of the layers with their references, in most cases the authors' code."""
