"""Which version of a model answers, and whether it should: experiments, assignment, always-valid tests."""
