"""One file per command: parse, call, print through one sink."""
