"""Clicks, grades and bad cases."""
