"""Request and response bodies, by topic."""
