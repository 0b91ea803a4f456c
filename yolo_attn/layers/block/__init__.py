"""Blocks: convolutions with attention inside."""
