"""The loop in one command: collect, train, gate, register, try on requests, promote."""
