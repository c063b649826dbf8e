"""`python -m transferkit` is the command `transferkit`."""

from transferkit.cli.app import main

main()
