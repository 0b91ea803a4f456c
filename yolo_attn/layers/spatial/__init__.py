"""Gates that weigh positions."""
