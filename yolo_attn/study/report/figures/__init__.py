"""Figures of the report, as SVG with the colors of the page's light or dark theme."""
