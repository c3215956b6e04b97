"""A lab to work in, and recipes that run quickly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import labkit
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, Run, load_recipe

ANNA, BORIS = Principal("anna"), Principal("boris")


@pytest.fixture(scope="session")
def oxide() -> Recipe:
    """Oxide, 100 nm."""
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@pytest.fixture(scope="session")
def poly() -> Recipe:
    """Polysilicon, 200 nm."""
    return load_recipe(resource("data/recipes/lpcvd_poly_si.json"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Anna's lab with one tube."""
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened:
        opened.add_tool("TUBE", "cvd", seed=1)
        yield opened


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, oxide: Recipe, poly: Recipe) -> Iterator[tuple[Lab, list[Run]]]:
    """A lab to look at only: oxide on lot L1 (1), poly on the same wafers (2), oxide on lot L2 (3), one blocked (4)."""
    with labkit.open(tmp_path_factory.mktemp("filled") / "lab", principal=ANNA) as opened:
        opened.add_tool("TUBE", "cvd", seed=1)
        first = opened.execute(oxide, tool="TUBE", lot="L1", product="GATE", progress=False)
        second = opened.execute(poly, tool="TUBE", wafers=first, progress=False)
        third = opened.execute(oxide, tool="TUBE", lot="L2", progress=False)
        fourth = opened.execute(
            load_recipe(resource("data/recipes/mocvd_gan_2um.json")), tool="TUBE", lot="L3", progress=False
        )
        yield opened, [first, second, third, fourth]
