"""Reports: a pipeline notebook run with parameters, and its page as one file that asks no other host for anything.

:func:`~labkit.reports.pipeline.run_pipeline` runs a notebook of ``pipelines/``; :mod:`~labkit.reports.summary` holds
what notebooks build their pages from. Papermill, nbconvert and the plotting libraries load on first use.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
del _lazy
