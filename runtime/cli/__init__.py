"""The command `godel`; sub-commands are imported only when they run."""
