"""Configuration for nginx in front of several instances."""
