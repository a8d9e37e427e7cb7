"""Packed torch backend: a network for each family of models, on CPU and CUDA."""
