"""Where and when figures were taken: printed above every table."""

import os
import platform
import time
from pathlib import Path


def line() -> str:
    """Date, processor, cores and Python."""
    system = f"{platform.system()} · Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')} · {_processor()}, {os.cpu_count()} cores · {system}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for row in cpuinfo.read_text().splitlines():
            if row.startswith("model name"):
                return row.split(":")[1].strip()
    return platform.processor() or platform.machine()
