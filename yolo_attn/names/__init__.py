"""Suggestions for unknown names of layers, blocks, options and files."""
