"""Results of a study: statistics computed from the stored matches of its runs, and `results.json`."""
