"""Tables, migrations and connections, shared by traces, feedback and experiments."""
