"""Gates that weigh channels."""
