"""Statistical process control, fault diagnosis and run-to-run control as pure update steps.

Everything that has a memory is a frozen chart or controller plus a frozen state:
``update(state, measurement) -> (state, action)``. States and baselines go to JSON and back
(:class:`labkit.control.state.Stored`), so that a catalogue can keep them and a twin can replay them.

========================================  =====================================================================
:mod:`~labkit.control.charts`             Shewhart limits (individuals, moving range, x-bar, c) and the EWMA chart
:mod:`~labkit.control.cusum`              two-sided tabular CUSUM with a stated false-alarm rate
:mod:`~labkit.control.run_length`         average run lengths of CUSUM and EWMA, known or estimated baseline
:mod:`~labkit.control.rules`              Western Electric and Nelson rules
:mod:`~labkit.control.capability`         Cp, Cpk, Pp, Ppk with confidence intervals
:mod:`~labkit.control.baseline`           the frozen, qualified baseline that residuals are judged against
:mod:`~labkit.control.diagnosis`          cause of a departure, by fault signature
:mod:`~labkit.control.run_to_run`         EWMA and double-EWMA controllers
========================================  =====================================================================

Imports numerics, materials and core only.
"""
