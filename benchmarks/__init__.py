"""Speed and memory against the libraries a user would pick instead, on the same weights and the same requests."""
