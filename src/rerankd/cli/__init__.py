"""The command line: tables on a terminal, JSON lines when piped, notices on standard error."""
