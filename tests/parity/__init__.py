"""Our layers against the numbers that the authors' own code gives."""
