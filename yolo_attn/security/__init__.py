"""Protection against files from untrusted sources."""
