"""What a lab keeps: the catalogue (SQL), run folders (Parquet and Zarr), artifacts and the audit chain.

Import the module of the idea: ``labkit.store.catalogue``, ``labkit.store.runs``, ``labkit.store.run_folder`` …;
this package itself imports nothing, so that ``import labkit`` stays fast.
"""
