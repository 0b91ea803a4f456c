"""Mixers in which positions exchange what they hold."""
