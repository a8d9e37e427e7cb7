"""Models: references, files, checks, and the graph that is compiled."""
