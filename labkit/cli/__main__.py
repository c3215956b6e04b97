"""``python -m labkit.cli``: the command where no script is on the path."""

from labkit.cli.main import main

main()
