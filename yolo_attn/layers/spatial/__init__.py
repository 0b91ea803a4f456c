"""Layers that reweight positions."""
