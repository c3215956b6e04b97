"""Pictures of runs, as HoloViews elements: interactive with the bokeh backend, for print with matplotlib.

Every function takes plain tables or Datasets and returns a HoloViews object with units on its axes; nothing here opens
a lab. :func:`~labkit.plots.theme.use` chooses the backend *before* a picture is made; :func:`~labkit.plots.picture.svg`
and :func:`~labkit.plots.picture.png` draw one for print. HoloViews loads on first use.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
del _lazy
