"""Where the published SPC reference data lie: ``LABKIT_SHARED_DATA`` or ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read at import: the settings fixture clears LABKIT_* before each test.
_CHECKOUT = Path(__file__).resolve().parents[2]
_SHARED = Path(os.environ.get("LABKIT_SHARED_DATA", _CHECKOUT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def spc_nist() -> Path:
    folder = _SHARED / "spc_nist"
    if not folder.is_dir():
        pytest.skip(f"NIST reference data not found in {folder}; set LABKIT_SHARED_DATA")
    return folder
