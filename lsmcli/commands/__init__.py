"""The commands, one file per command, each a click command over plain functions.

Invariants:
- a command takes the Session and never opens the data file itself, nor exits the process, so that the
  command line, the shell and scripts run the very same code;
- arguments are checked before the data file is opened: bad input changes nothing;
- data goes to `session.out` as bytes, messages go to standard error.
"""
