"""Encoders on Intel's Advanced Matrix Extensions (AMX), in bfloat16 or int8, computed by kernels of our own."""
