"""The parts of `benchmarks/leaderboard.py`: placements, part studies, the record, the table and the page."""
