"""Checkpoint to a verified ONNX model."""
