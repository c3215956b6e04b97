"""labkit: a Jupyter-native workbench for semiconductor process engineering.

``import labkit as lk; lab = lk.open("mylab")`` is where a notebook begins. Everything loads on first use.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
del _lazy
