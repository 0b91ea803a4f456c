"""Analysis of models: their cost (`profile`) and their attention (`maps`)."""
