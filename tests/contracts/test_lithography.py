"""Lithography keeps the process contract."""

from __future__ import annotations

from labkit.testing import ProcessTests


class TestLithography(ProcessTests):
    process_name = "lithography"
