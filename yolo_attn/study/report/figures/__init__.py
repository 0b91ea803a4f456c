"""The plots of the report: one SVG each, in the colours of the page, light or dark."""
