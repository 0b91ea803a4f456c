"""Convolutions with attention, for rows in the place of Conv."""
