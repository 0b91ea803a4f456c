"""Files, locks and processes: the layer above the operating system."""
