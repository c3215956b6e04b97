"""What is learned from past runs: models of the residual between prediction and measurement, with honest intervals.

Imports control, numerics and core only; models go to JSON and back and are never pickled.
"""
