"""The numbers of a study, computed from the files of its runs, and `results.json`."""
