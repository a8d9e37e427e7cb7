"""Recipes: how bundled models are made."""
