"""Lines instead of single commands: scripts, and the shell on a terminal. One grammar, one way to run a line."""
