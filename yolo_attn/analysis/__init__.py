"""Looking at models: what they cost (`profile`), and where their attention goes (`maps`)."""
