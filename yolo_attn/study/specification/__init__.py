"""Specification of a study: base, variants, controls, seeds, data, recipe and device."""
