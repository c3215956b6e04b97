"""The kernel that runs a pipeline: this very Python, whatever kernels a user has installed, untouched by their profile."""

from __future__ import annotations

import sys
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class ThisPython(AsyncKernelManager):
    """Starts ``ipykernel`` with :data:`sys.executable`; no kernel specification is installed or looked up."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """A kernel of this interpreter, without input history."""
        return KernelSpec(display_name="Python (labkit)", language="python",
                          argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
                                "--HistoryManager.enabled=False"],
                          env=self.environment)

    environment: dict[str, Any] = {}  # noqa: RUF012
