"""Documents; the reference parts are generated."""
