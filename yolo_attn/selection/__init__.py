"""`search`: which layer, at which site, under limits and a budget."""
