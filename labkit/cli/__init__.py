"""The ``labkit`` command: a thin face of the Lab for terminals, scripts and cron."""

from labkit.cli.main import main

__all__ = ["main"]
