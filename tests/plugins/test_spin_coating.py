"""A fifth process in a package of its own works with no change to labkit, and a broken one harms nobody."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.integrate import solve_ivp

PACKAGE = Path(__file__).with_name("labkit_spin_coating")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-in installed as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--target",
            str(folder),
            str(PACKAGE),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    return folder


@pytest.fixture(scope="module")
def coater(site: Path) -> Iterator[ModuleType]:
    """The installed plug-in, imported into this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield importlib.import_module("labkit_spin_coating")


def run(code: str, *folders: Path, cwd: Path, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Python on *code* in a fresh process that sees the plug-ins in *folders*; warnings are errors unless expected."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *map(str, folders)])
    return subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def distribution(folder: Path, name: str, target: str, module: str) -> Path:
    """A distribution called *name* in *folder* that offers *target* as the process ``etching``, or what *name* says."""
    folder.mkdir(exist_ok=True)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[labkit.processes]\n{target}\n", encoding="utf-8")
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    return folder


def test_the_plug_in_passes_the_whole_process_contract(site: Path, tmp_path: Path) -> None:
    (tmp_path / "test_contract.py").write_text(
        textwrap.dedent("""
        from labkit.testing import ProcessTests

        class TestSpinCoating(ProcessTests):
            process_name = "spin_coating"
        """),
        encoding="utf-8",
    )
    done = run(
        """
        import sys, pytest
        plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=."]
        sys.exit(pytest.main(["-q", "-W", "error", *plain, "test_contract.py"]))
        """,
        site,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_document_without_a_process_finds_the_plug_in(site: Path, tmp_path: Path) -> None:
    done = run(
        """
        from labkit.core import registry
        recipe = registry.recipe_from({"name": "thin", "spin_speed_rpm": 5000.0})
        print(recipe.process, sorted(registry.names("labkit.processes")))
        """,
        site,
        cwd=tmp_path,
        arguments=("-W", "error"),
    )
    assert done.stdout.startswith("spin_coating ["), done.stderr
    assert "'cvd'" in done.stdout


@pytest.mark.parametrize(
    ("rpm", "published_um"), [(2000, 1.98), (3000, 1.62), (4000, 1.40), (5000, 1.25), (6000, 1.14)]
)
def test_thickness_follows_the_published_spin_curve_of_az5214e(
    coater: ModuleType, rpm: int, published_um: float
) -> None:
    # NanoLab's AZ5214E table (Polos 150), relative to its 4000 rpm value: resist constants drop out of the ratio.
    thickness = coated_nm(coater, spin_speed_rpm=rpm) / coated_nm(coater, spin_speed_rpm=4000)
    assert thickness == pytest.approx(published_um / 1.40, rel=0.01)


def test_a_film_that_is_stopped_wet_holds_all_the_solids_left_by_drainage_alone(coater: ModuleType) -> None:
    # Without evaporation worth the name, Emslie's h = 1/sqrt(4 K t) holds for a thick film; the solids are c0 h.
    drainage = 1000.0 * (3000.0 * 2.0 * math.pi / 60.0) ** 2 / (3.0 * 0.4)
    expected_nm = 0.1 * 1e9 / math.sqrt(4.0 * drainage * 1.0)
    found = coated_nm(coater, spin_time_s=1.0, viscosity_mpa_s=400.0, solids_fraction=0.1, evaporation_um_s=0.01)
    assert found == pytest.approx(expected_nm, rel=0.01)


def test_drying_follows_the_thinning_equation_integrated_numerically(coater: ModuleType) -> None:
    # dx/dt = -(1 + x^3), d(solids)/dt = -(solids/x) x^3 in units of h* and h*/E, from a thick film to a dry one.
    thinning = sys.modules["labkit_spin_coating.thinning"]
    start = 50.0
    at = solve_ivp(
        lambda t, y: [-(1.0 + y[0] ** 3), -y[1] * y[0] ** 2], (0.0, 1.0), [start, start], rtol=1e-9, atol=1e-12
    ).y
    late = 1.0 + 1.0 / (2.0 * start**2)
    assert float(thinning.liquid_thickness(np.asarray(late))) == pytest.approx(at[0, -1], rel=1e-3)
    assert float(thinning.solid_thickness(at[0, -1])) == pytest.approx(at[1, -1], rel=1e-3)


def coated_nm(coater: ModuleType, **fields: float) -> float:
    """Dry thickness, nm, of the plug-in's default recipe with *fields* changed."""
    process = coater.SpinCoating()
    recipe = coater.SpinCoatingRecipe(name="curve", **fields)
    return float(process.simulate(recipe, process.incoming_wafers(recipe))["thickness"].mean())


@pytest.mark.skipif(importlib.util.find_spec("labkit.lab") is None, reason="labkit.lab is not in this checkout")
def test_a_lab_runs_the_plug_in_from_recipe_to_judgement(site: Path, tmp_path: Path) -> None:
    done = run(
        """
        import labkit
        from labkit.core import registry
        lab = labkit.open("mylab")
        run = lab.execute(registry.process("spin_coating").example_recipes()[0])
        assert run.recipe.process == "spin_coating"
        assert run.prediction is not None
        assert run.judgement is not None
        print("status", run.state)
        print("thickness", float(lab.run(run.id).data["measured"]["thickness"].mean()))
        """,
        site,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "status COMPLETED" in done.stdout, done.stdout


def test_a_plug_in_that_cannot_be_imported_warns_and_is_skipped(tmp_path: Path) -> None:
    broken = distribution(tmp_path / "broken", "etcher", "etching = etcher:Etching", "import a_library_nobody_has\n")
    done = run(
        """
        import warnings
        from labkit.core import registry
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = registry.processes()
        print(sorted(found), [w.category.__name__ for w in caught if "etching" in str(w.message)])
        try:
            registry.process("etching")
        except registry.PluginError as error:
            print(error)
        """,
        broken,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "'etching'" not in done.stdout.splitlines()[0]
    assert "PluginWarning" in done.stdout
    assert "a_library_nobody_has" in done.stdout


def test_a_plug_in_that_is_no_process_warns_and_is_skipped(tmp_path: Path) -> None:
    wrong = distribution(
        tmp_path / "wrong", "etcher", "etching = etcher:Etching", "class Etching:\n    name = 'etching'\n"
    )
    done = run(
        """
        import warnings
        from labkit.core import registry
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert "etching" not in registry.processes()
        print([str(w.message) for w in caught])
        """,
        wrong,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "not a labkit.core.process.Process" in done.stdout


def test_a_plug_in_that_takes_a_built_in_name_warns_and_the_built_in_stays(tmp_path: Path) -> None:
    clash = distribution(tmp_path / "clash", "a_clash", "cvd = a_clash:Cvd", "class Cvd:\n    pass\n")
    done = run(
        """
        import warnings
        from labkit.core import registry
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            registry.names("labkit.processes")
        print([str(w.message) for w in caught])
        print(registry._entries("labkit.processes")["cvd"].value)
        """,
        clash,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "a_clash:Cvd" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1].startswith("labkit.processes.cvd")


def test_of_two_plug_ins_of_one_name_the_same_one_wins_every_time(tmp_path: Path) -> None:
    both = distribution(tmp_path / "both", "zebra", "etching = zebra:Etching", "class Etching: pass\n")
    distribution(both, "antelope", "etching = antelope:Etching", "class Etching: pass\n")
    done = run(
        """
        import warnings
        from labkit.core import registry
        warnings.simplefilter("ignore")
        print(registry._entries("labkit.processes")["etching"].value)
        """,
        both,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "antelope:Etching", done.stdout + done.stderr
