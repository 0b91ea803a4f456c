"""Layers that reweight channels and positions."""
