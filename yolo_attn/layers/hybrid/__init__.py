"""Gates that weigh channels and positions."""
