"""Logits to an order."""
