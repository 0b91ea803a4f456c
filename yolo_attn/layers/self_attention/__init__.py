"""Layers that mix positions or channels by attention over the map."""
