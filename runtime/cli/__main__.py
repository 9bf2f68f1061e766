"""`python -m runtime.cli` is the command `godel`."""

from runtime.cli.main import main

main()
