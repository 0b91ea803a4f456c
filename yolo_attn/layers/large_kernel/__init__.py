"""Layers that multiply the map by weights with a large receptive field."""
