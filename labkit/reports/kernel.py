"""The kernel that runs a pipeline: this very Python, whatever kernels a user has installed, without their profile."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


class ThisPython(AsyncKernelManager):
    """Starts ``ipykernel`` with :data:`sys.executable`; no kernel specification is installed or looked up.

    Subclasses set ``scratch``, a folder with a short path for sockets and IPython's own files.
    """

    scratch: Path

    @default("transport")
    def _local_sockets(self) -> str:
        return "ipc" if os.name == "posix" else "tcp"

    @default("connection_file")
    def _in_scratch(self) -> str:
        return str(self.scratch / "kernel.json")

    @property
    def kernel_spec(self) -> KernelSpec:
        """A kernel of this interpreter, without input history."""
        return KernelSpec(
            display_name="Python (labkit)",
            language="python",
            argv=[
                sys.executable,
                "-m",
                "ipykernel_launcher",
                "-f",
                "{connection_file}",
                "--HistoryManager.enabled=False",
                "--log-level=CRITICAL",
            ],
            env={"IPYTHONDIR": str(self.scratch / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )
