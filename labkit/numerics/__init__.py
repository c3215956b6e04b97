"""Process-agnostic kernels: arrays in, arrays out. Imports nothing above the core; no Datasets, no files, no clock."""
