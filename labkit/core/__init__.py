"""The ground every other layer stands on: names, units, recipes, contracts. Imports nothing above it."""
