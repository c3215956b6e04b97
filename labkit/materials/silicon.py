"""Silicon wafers: the numbers of the substrate itself that several chapters share."""

from __future__ import annotations

from labkit.core.errors import LabkitError

DENSITY = 2329.0
"""Density at 25 °C, kg/m³ (CRC Handbook of Chemistry and Physics)."""
LATTICE_CONSTANT = 5.431020511e-10
"""Lattice constant at 22.5 °C, m (CODATA 2018)."""
MOLAR_MASS = 28.085e-3
"""Molar mass of natural silicon, kg/mol (IUPAC 2021)."""
ATOMIC_DENSITY = 8.0 / LATTICE_CONSTANT**3
"""Atoms per m³: eight per cubic cell."""

THICKNESS_MM: dict[float, float] = {
    50.0: 0.279,
    75.0: 0.381,
    100.0: 0.525,
    125.0: 0.625,
    150.0: 0.675,
    200.0: 0.725,
    300.0: 0.775,
    450.0: 0.925,
}
"""Nominal wafer thickness by diameter, both in mm (SEMI M1)."""


def wafer_thickness(diameter_mm: float) -> float:
    """Nominal thickness in m of a wafer of *diameter_mm*.

    Raises
    ------
    LabkitError
        If no standard wafer has that diameter.
    """
    try:
        return THICKNESS_MM[diameter_mm] * 1e-3
    except KeyError:
        raise LabkitError(
            f"no standard wafer of {diameter_mm:g} mm diameter", allowed=", ".join(f"{d:g}" for d in THICKNESS_MM)
        ) from None
