"""Chemical vapour deposition keeps the process contract."""

from __future__ import annotations

from labkit.testing import ProcessTests


class TestChemicalVapourDeposition(ProcessTests):
    process_name = "cvd"
