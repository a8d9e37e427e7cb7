"""API keys, quotas and usage."""
