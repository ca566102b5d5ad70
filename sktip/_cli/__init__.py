"""The command line: arguments in, files out, and an exit code."""
