"""Scoring: logits for pairs."""
