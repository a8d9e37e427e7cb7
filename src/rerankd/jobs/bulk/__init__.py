"""Bulk scoring: files of any length, in constant memory, resumable."""
