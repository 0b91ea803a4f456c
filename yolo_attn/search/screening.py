"""Screening: candidates that are not trained, because of their costs or because a format cannot carry them."""

from __future__ import annotations

__all__ = ["screen"]
