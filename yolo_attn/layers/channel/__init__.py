"""Layers that reweight channels."""
