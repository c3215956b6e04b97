"""Runs and predictions as the terminal shows them."""

from __future__ import annotations

from labkit.cli.output import console, emit, facts, number, table
from labkit.lab import Run
from labkit.lab.listing import Listing
from labkit.runs.predict import Prediction
from labkit.runs.preflight import Preflight


def show_runs(listing: Listing, *, as_json: bool) -> None:
    """Print a page of runs."""
    if as_json:
        emit({"runs": [dict(row) for row in listing], "after": listing.after})
        return
    if not len(listing):
        console().print("no runs")
        return
    table(
        f"runs ({len(listing)}{'+' if listing.more else ''})",
        ("run", "started", "recipe", "tool", "lot", "state", "verdict", "origin"),
        [
            (
                row["seq"],
                f"{row['started']:%Y-%m-%d %H:%M:%S}" if row["started"] else None,
                row["recipe_name"],
                row["tool"],
                row["lot"],
                row["state"],
                row["verdict"],
                row["origin"],
            )
            for row in listing
        ],
        right=("run",),
    )


def show_run(run: Run, *, as_json: bool) -> None:
    """Print one run: passport, prediction against measurement, judgement."""
    if as_json:
        emit({**run.record, "measured": run.measured})
        return
    facts(f"run {run.seq} · {run.id}", run.facts())
    if run.record["prediction"] is not None and run.measured:
        _compare(run)
    if run.judgement is not None and run.judgement.diagnosis is not None and run.judgement.diagnosis.candidates:
        table(
            "causes considered",
            ("cause", "weight", "size", "95 % interval", "explains", "shape"),
            [
                (
                    c["title"],
                    f"{c['weight']:.3f}",
                    number(c["amplitude"], 3),
                    f"{number(c['low'], 3)} … {number(c['high'], 3)}",
                    f"{100 * c['explained']:.0f} %",
                    c["shape"],
                )
                for c in run.judgement.diagnosis.candidates[:5]
            ],
            right=("weight", "size", "95 % interval", "explains"),
        )


def _compare(run: Run) -> None:
    z = run.judgement.z if run.judgement is not None else {}
    rows = []
    for estimate in run.prediction.estimates:
        measured = run.measured.get(estimate.name)
        inside = measured is not None and estimate.contains(measured)
        rows.append(
            (
                estimate.name,
                number(estimate.value),
                f"{number(estimate.low)} … {number(estimate.high)}",
                number(measured),
                "" if inside else "outside",
                number(z.get(estimate.name), 2),
                estimate.units,
            )
        )
    table(
        f"predicted ({100 * run.prediction.level:g} % interval) and measured",
        ("indicator", "predicted", "interval", "measured", "", "z", "unit"),
        rows,
        right=("predicted", "interval", "measured", "z"),
    )


def show_prediction(prediction: Prediction, gate: Preflight, *, as_json: bool) -> None:
    """Print a prediction without a run, and whether it would be let through."""
    if as_json:
        emit({**prediction.document(), "preflight": gate.document()})
        return
    if prediction.estimates:
        table(
            f"predicted from physics and {prediction.rows} past runs ({100 * prediction.level:g} % interval)",
            ("indicator", "predicted", "interval", "unit", ""),
            [
                (
                    e.name,
                    number(e.value),
                    f"{number(e.low)} … {number(e.high)}",
                    e.units,
                    "" if e.covered else "new ground",
                )
                for e in prediction.estimates
            ],
            right=("predicted", "interval"),
        )
    verdict = {"pre-flight": "would run" if gate.allowed else "would be refused"}
    if gate.reasons:
        verdict["reason"] = "; ".join(gate.reasons)
    if gate.warnings:
        verdict["warning"] = "; ".join(gate.warnings)
    if gate.changes:
        verdict["offered"] = "; ".join(map(str, gate.changes))
    facts("", verdict)
