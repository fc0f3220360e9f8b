"""The dependency direction: inference_server -> agent, and inside each package app -> shells -> cores."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORES = {
    "agent": "config protocol audio segmenter frames timeline records uplink backoff codec",
    "inference_server": "config session moments notes ledger dispatch drafts retrieval words ogg views engines.base "
    "engines.cascade.cleaning engines.cascade.plausible engines.cascade.summary",
}
# What a core must not know. numpy is arithmetic; `codec` is arithmetic too, by way of FFmpeg.
FORBIDDEN = {"asyncio", "socket", "logging", "time", "threading", "subprocess", "sqlite3", "sqlalchemy", "torch"}
FORBIDDEN |= {"cv2", "sounddevice", "soundfile", "websockets", "fastapi", "starlette", "uvicorn", "onnxruntime"}


def modules(package: str) -> dict[str, Path]:
    """Every module of the package by its dotted name, without the package's own."""
    paths = (ROOT / package).rglob("*.py")
    return {".".join(p.relative_to(ROOT / package).with_suffix("").parts): p for p in paths}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names that the module imports."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", sorted(modules("agent")))
def test_the_agent_never_imports_the_server(name: str) -> None:
    assert not {one for one in imports(modules("agent")[name]) if one.startswith("inference_server")}


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in CORES.items() for name in names.split()]
)
def test_a_core_knows_no_shell_and_no_device(package: str, name: str) -> None:
    known = imports(modules(package)[name])
    assert not {one.split(".")[0] for one in known} & FORBIDDEN
    cores = {f"{owner}.{core}" for owner, names in CORES.items() for core in names.split()}
    ours = {one for one in known if one.split(".")[0] in CORES and one.removeprefix(f"{package}.") in modules(package)}
    shells = ours - cores
    assert not shells, f"{name} imports the shells {shells}"


def test_the_agent_imports_quickly_and_lightly() -> None:
    code = (
        "import time; begun = time.perf_counter(); import agent.app; took = time.perf_counter() - begun; import sys;"
        "print(took, *(n for n in ('torch', 'fastapi', 'starlette', 'sqlalchemy', 'cv2', 'av') if n in sys.modules))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    answers = [run.stdout.split() for run in runs]
    assert min(float(answer[0]) for answer in answers) < 0.5
    assert all(answer[1:] == [] for answer in answers)


def test_importing_any_module_does_nothing() -> None:
    names = [f"{package}.{name}" for package in CORES for name in modules(package) if not name.endswith("__main__")]
    names = [name.removesuffix(".__init__") for name in names]
    code = (
        f"import importlib, threading; [importlib.import_module(n) for n in {names!r}]; print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
