from .core.identity import Principal as Principal
from .core.identity import Role as Role
from .core.tool import Clock as Clock
from .core.tool import Fault as Fault
from .lab import Lab as Lab
from .lab import load_recipe as load_recipe
from .lab import open as open
from .lab import restore as restore
