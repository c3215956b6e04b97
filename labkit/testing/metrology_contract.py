"""What measuring must keep: an honest error, and a healthy run that looks healthy."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.testing.subject import Subject, as_dataset, completed, is_finite, simulated

_REPEATS = 48
_HEALTHY_SIGMAS = 5.0


class MetrologyContract(Subject):
    """``measure`` adds noise and nothing else; indicators of a healthy run lie where they are expected."""

    def test_measuring_is_deterministic_given_its_seed(self) -> None:
        truth = simulated(self.process_name, 0)
        xr.testing.assert_equal(self.process.measure(truth, seed=5), self.process.measure(truth, seed=5))
        assert not self.process.measure(truth, seed=5).equals(self.process.measure(truth, seed=6))

    def test_measuring_leaves_the_truth_as_it_is(self) -> None:
        truth = simulated(self.process_name, 0)
        before = truth.copy(deep=True)
        self.process.measure(truth, seed=5)
        xr.testing.assert_identical(truth, before)

    def test_measurements_are_of_the_truth_without_bias(self) -> None:
        truth = simulated(self.process_name, 0)
        errors: dict[str, list[float]] = {}
        for seed in range(_REPEATS):
            measured = self.process.measure(truth, seed=seed)
            for name in set(measured.data_vars) & set(truth.data_vars):
                if truth[name].dtype.kind == "f":
                    assert measured[name].dims == truth[name].dims
                    errors.setdefault(str(name), []).append(float((measured[name] - truth[name]).mean(skipna=True)))
        assert errors, "measure reports none of the simulated quantities under its own name"
        for name, values in errors.items():
            spread = float(np.std(values, ddof=1))
            rounding = 1e-9 * float(np.abs(truth[name]).max())
            assert abs(np.mean(values)) <= 4.5 * spread / np.sqrt(_REPEATS) + rounding, (
                f"{name} is measured {np.mean(values):.3g} off on average (spread {spread:.3g})"
            )

    def test_every_indicator_follows_from_measured_results_and_telemetry(self) -> None:
        recipe = self.examples[0]
        telemetry, truth = completed(self.process_name, 0)
        values = self.process.summarise(
            recipe, self.process.measure(truth, seed=0), as_dataset(telemetry, self.process.channels)
        )
        assert set(values) == {indicator.name for indicator in self.process.indicators}
        assert all(is_finite(value) for value in values.values()), values

    def test_a_healthy_run_lies_within_its_declared_spread(self) -> None:
        recipe = self.examples[0]
        expected = self.process.expected(recipe, self.process.incoming_wafers(recipe))
        for seed in range(3):
            telemetry, truth = completed(self.process_name, seed)
            found = self.process.summarise(
                recipe, self.process.measure(truth, seed=seed), as_dataset(telemetry, self.process.channels)
            )
            far = {
                i.name: round(i.compare(found[i.name], expected[i.name]) / i.sigma, 2)
                for i in self.process.indicators
                if not abs(i.compare(found[i.name], expected[i.name])) <= _HEALTHY_SIGMAS * i.sigma
            }
            assert far == {}, f"healthy residuals in sigmas: {far}"
