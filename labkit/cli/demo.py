"""``labkit demo``: the main job from an empty folder to a report, on two unlike processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from labkit.cli.output import console, emit, facts, number, table
from labkit.core.errors import LabkitError
from labkit.core.resources import resource
from labkit.core.tool import Fault
from labkit.lab import Job, Lab, Run, load_recipe
from labkit.lab import open as open_lab

TOOL, HEALTHY_TOOL = TOOLS = ("TUBE-1", "TUBE-2")
FAULT_MODE, DRIFT_PER_BATCH = "sih4_mfc", 0.01
TOO_HOT_C = 825.0
EXAMPLES = ("lpcvd_sio2_100nm", "pecvd_si3n4_50nm", "mocvd_gan_2um")
WATCHED = "thickness_mean_nm"


def run_demo(folder: Path, *, batches: int, fault_batch: int, seed: int, report: bool, as_json: bool) -> None:
    """Make a lab in *folder* and play the whole story in it: two tubes side by side, one of them drifting.

    Raises
    ------
    LabkitError
        If *folder* already holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LabkitError(f"{folder} already exists", fix=f"remove it, or labkit demo --folder {folder}-2")
    started = time.monotonic()
    with open_lab(folder) as lab:
        recipes = [load_recipe(resource(f"data/recipes/{name}.json")) for name in EXAMPLES]
        for recipe in recipes:
            lab.save_recipe(recipe)
        if not as_json:
            _introduce(lab, recipes)
        for number, tool in enumerate(TOOLS):
            lab.add_tool(tool, "cvd", seed=seed + 1000 * number)
        lab.tool(TOOL).inject(
            Fault(mode=FAULT_MODE, per_run=-DRIFT_PER_BATCH, magnitude=-DRIFT_PER_BATCH, first_run=fault_batch)
        )
        ran = _batches(lab, recipes[0], batches, quiet=as_json)
        done = ran[TOOL]
        window = _process_window(lab, quiet=as_json)
        refused = _refused(lab, recipes[0], quiet=as_json)
        html = None
        if report:
            html = _report(lab, quiet=as_json)
        found = _finding(done, fault_batch)
        summary = {
            "folder": str(folder),
            "batches": len(done),
            "baseline_from": lab.settings.baseline_runs,
            "drift_from_batch": fault_batch,
            **found,
            "false_alarms": sum(run.verdict != "pass" for run in ran[HEALTHY_TOOL]),
            **window,
            "refused_run": refused.id,
            "report": str(html) if html else None,
            "seconds": round(time.monotonic() - started, 1),
        }
        if as_json:
            emit(summary)
            return
        _closing_table(done)
        facts(
            "What happened",
            {
                "drift injected": f"SiH4 flow, {-100 * DRIFT_PER_BATCH:+.0f} % per batch from batch {fault_batch}",
                "found": found["found"],
                f"beside it, on {HEALTHY_TOOL}": _healthy(ran[HEALTHY_TOOL]),
                "report": str(html) if html else "not written",
                "look closer": f"labkit --lab {folder} show {done[-1].seq}   ·   labkit --lab {folder} runs",
                "took": f"{summary['seconds']} s",
            },
        )


def _introduce(lab: Lab, recipes: list[Any]) -> None:
    table(
        f"Recipes loaded into {lab.folder}",
        ("recipe", "film", "target nm", "hazard", "status", "can run here"),
        [
            (
                r.name,
                r.film_target,
                f"{r.thickness_target_nm:g}",
                r.safety_hazard_level,
                r.status.value,
                "yes" if not any(f.blocking for f in lab.findings(r)) else "no engine yet",
            )
            for r in recipes
        ],
        right=("target nm", "hazard"),
    )


def _batches(lab: Lab, recipe: Any, batches: int, *, quiet: bool) -> dict[str, list[Run]]:
    """Hand all batches in on both tubes and watch them run side by side; the first ten freeze each tube's baseline."""
    first = lab.settings.baseline_runs
    done: dict[str, list[Run]] = {tool: [] for tool in TOOLS}
    with _progress(quiet) as bar:
        tasks = {tool: bar.add_task(f"batches on {tool}", total=batches, note="") for tool in TOOLS}
        for numbers in (range(1, first + 1), range(first + 1, batches + 1)):
            waiting = {tool: [_hand_in(lab, recipe, tool, number) for number in numbers] for tool in TOOLS}
            while any(waiting.values()):
                for tool, jobs in waiting.items():
                    while jobs and jobs[0].done:
                        run = jobs.pop(0).run
                        done[tool].append(run)
                        bar.update(tasks[tool], advance=1, note=_noted(run))
                time.sleep(0.05)
            if numbers.start == 1:
                for tool in TOOLS:
                    lab.qualify(tool, runs=[run.id for run in done[tool]])
    return done


def _hand_in(lab: Lab, recipe: Any, tool: str, number: int) -> Job:
    return lab.submit(recipe, tool=tool, lot=f"LOT-{'AB'[TOOLS.index(tool)]}{number:03d}", product="GATE-SPACER")


def _noted(run: Run) -> str:
    headline = run.judgement.headline if run.judgement is not None else run.state
    return f"{run.measured.get(WATCHED, float('nan')):.2f} nm · {headline}"[:48]


def _process_window(lab: Lab, *, quiet: bool) -> dict[str, Any]:
    from labkit.processes.lithography import Lithography, focus_exposure_matrix, process_window

    recipe = Lithography().example_recipes()[0]
    lab.save_recipe(recipe)
    fem = focus_exposure_matrix(recipe)
    window = process_window(fem)
    wanted = ("best_dose", "best_focus", "exposure_latitude", "depth_of_focus")
    shown = {name: (round(float(window[name]), 9) + 0.0, str(window[name].attrs["units"])) for name in wanted}
    if not quiet:
        facts(
            f"Focus–exposure matrix of {recipe.name}, {fem.sizes['focus']} × {fem.sizes['dose']}",
            {name.replace("_", " "): f"{number(value)} {units}" for name, (value, units) in shown.items()},
        )
    return {"process_window": {name: value for name, (value, _) in shown.items()}}


def _refused(lab: Lab, recipe: Any, *, quiet: bool) -> Run:
    hot = recipe.changed(
        {
            "name": f"{recipe.name}, {TOO_HOT_C:g} degC",
            **{
                f"temperature_profile.zones.{i}.setpoint": TOO_HOT_C
                for i in range(len(recipe.value("temperature_profile.zones")))
            },
        }
    )
    run = lab.execute(hot, tool=TOOL, progress=False)
    if not quiet and run.preflight is not None:
        facts(
            f"Refused at pre-flight: {hot.name}",
            {
                "reason": "; ".join(run.preflight["reasons"]),
                "offered": "; ".join(f"{c['path']}: {c['before']} → {c['after']}" for c in run.preflight["offer"])
                or "nothing",
            },
        )
    return run


def _report(lab: Lab, *, quiet: bool) -> Path:
    from labkit.reports.pipeline import run_pipeline

    html = lab.folder / "reports" / "batch_report.html"
    html.parent.mkdir(parents=True, exist_ok=True)
    parameters = {
        "lab_folder": str(lab.folder.resolve()),
        "tool": TOOL,
        "fem_recipe": str(resource("data/recipes/lithography_arf_binary_100nm.json")),
    }
    return run_pipeline("batch_report", parameters, html, progress=not quiet)


def _finding(done: list[Run], fault_batch: int) -> dict[str, Any]:
    for batch, run in enumerate(done, start=1):
        if run.judgement is not None and run.judgement.verdict == "anomaly":
            cause = run.judgement.diagnosis.verdict if run.judgement.diagnosis is not None else "not named"
            return {
                "alarm_batch": batch,
                "cause": cause,
                "delay_batches": batch - fault_batch,
                "found": f"batch {batch}: {run.judgement.headline}",
            }
    return {"alarm_batch": None, "cause": None, "delay_batches": None, "found": "nothing was found"}


def _healthy(runs: list[Run]) -> str:
    flagged = [run.seq for run in runs if run.verdict != "pass"]
    return f"{len(runs)} batches, " + (f"runs {flagged} flagged" if flagged else "none flagged")


def _closing_table(done: list[Run]) -> None:
    rows = []
    for batch, run in enumerate(done, start=1):
        estimate = run.prediction.estimate(WATCHED)
        rows.append(
            (
                batch,
                f"{estimate.value:.2f}",
                f"{estimate.low:.1f} … {estimate.high:.1f}",
                f"{run.measured[WATCHED]:.2f}",
                run.verdict,
                _cause(run),
            )
        )
    table(
        f"{len(done)} batches on {TOOL}: mean thickness in nm",
        ("batch", "predicted", "95 % interval", "measured", "verdict", "cause"),
        rows,
        right=("batch", "predicted", "95 % interval", "measured"),
    )


def _cause(run: Run) -> str:
    judgement = run.judgement
    if judgement is None or judgement.diagnosis is None:
        return ""
    verdict = judgement.diagnosis.verdict
    leading = judgement.diagnosis.candidates[0]
    if leading["fault"] != verdict:
        return verdict
    return (
        f"{verdict} {100 * leading['amplitude']:+.1f} %"
        if "gain" in leading["path"]
        else f"{verdict} {leading['amplitude']:+.2g}"
    )


def _progress(quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console(),
        disable=quiet,
        transient=False,
    )
