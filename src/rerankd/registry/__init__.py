"""Versions of models on MLflow: registered with their evidence, promoted, rolled back, and followed by instances."""
