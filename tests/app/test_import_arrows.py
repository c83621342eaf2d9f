"""Who may import whom, held over the syntax trees: the arrows of the design."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("app", "model_training")

# main, cli ─▶ commands ─▶ server ─▶ api ─▶ inference, images, interop, dicomweb ─▶ text, report, and what all of the
# service may use. commands ─▶ bulk, pacs ─▶ service_client, dicomweb.
_TEXT = ("app.text", "app.report")
_BELOW_API = ("app.inference", "app.images", "app.interop", "app.dicomweb", *_TEXT)
_SERVICE = ("app.settings", "app.telemetry")
_CLIENT = ("app.service_client", "app.retry")
# Module prefix to what it may import of ours; the longest prefix that fits decides.
ALLOWED: dict[str, tuple[str, ...]] = {
    "app": ("app",),  # main and what else starts the service
    "app.cli": ("app.commands", "app.inference.pipes"),
    "app.commands": (
        "app.commands",
        "app.main",
        "app.server",
        "app.bulk",
        "app.pacs",
        "app.local_reports",
        "app.api",
        "app.defaults",
        "app.hospital_settings",
        *_BELOW_API,
        *_SERVICE,
    ),
    "app.local_reports": ("app.api", *_BELOW_API, *_SERVICE),
    "app.report": (),
    "app.defaults": (),
    "app.retry": (),
    "app.service_client": ("app.retry",),
    "app.settings": ("app.inference.options", "app.hospital_settings", "app.defaults"),  # whose limits they are
    "app.hospital_settings": (),
    "app.telemetry": (),
    "app.tracing": ("app.api",),
    "app.images": ("app.images", "app.report"),
    "app.text": _TEXT,
    "app.inference": ("app.inference", *_TEXT),
    "app.interop": ("app.interop", *_TEXT),
    "app.dicomweb": ("app.dicomweb", "app.retry"),
    "app.pacs": ("app.pacs", "app.dicomweb", "app.hospital_settings", *_CLIENT, *_SERVICE),
    "app.bulk": ("app.bulk", "app.api", "app.local_reports", *_BELOW_API, *_CLIENT, *_SERVICE),
    "app.api": ("app.api", *_BELOW_API, *_SERVICE),
    "app.server": ("app.server", "app.api", *_BELOW_API, *_SERVICE),
    "model_training": ("model_training", "app.inference", "app.images", *_TEXT),
}
# And what of others' it must not.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "app": (),
    "app.report": ("torch", "fastapi", "starlette", "pydantic"),
    "app.images": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.text": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.inference": ("fastapi", "starlette", "pydantic", "pydantic_settings", "prometheus_client"),
    "app.interop": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.dicomweb": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.pacs": ("torch", "fastapi", "starlette"),
    "app.bulk": ("torch", "fastapi", "starlette"),
    "app.commands": ("torch", "starlette"),
    "app.service_client": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.api": ("torch",),
    "app.server": ("torch",),
    "model_training": ("fastapi", "starlette", "uvicorn"),
}
# What imports no torch, neither by itself nor through another module of ours.
WITHOUT_TORCH = (
    *("app.api", "app.server", "app.images", "app.interop", "app.dicomweb", "app.pacs"),
    *("app.text", "app.report", "app.settings"),
)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def rule(rules: dict[str, tuple[str, ...]], module: str) -> tuple[str, ...]:
    return rules[max((prefix for prefix in rules if within(module, prefix)), key=len)]


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            # `from app import report` imports app.report; a name that is no module adds nothing to forbid.
            assert node.module
            ours = node.module.partition(".")[0] in OURS
            yield from (f"{node.module}.{alias.name}" if ours else node.module for alias in node.names)


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_arrows(module: str, path: Path) -> None:
    """A module imports only what its arrows point at."""
    allowed, forbidden = rule(ALLOWED, module), rule(FORBIDDEN, module)
    for imported in imports(path):
        if any(within(imported, package) for package in OURS):
            assert any(within(imported, prefix) for prefix in allowed), f"{module} imports {imported}"
        assert not any(within(imported, prefix) for prefix in forbidden), f"{module} imports {imported}"


def way_to_torch(module: str) -> list[str]:
    """The imports from a module of ours to torch, a package's `__init__` being imported with what is in it."""
    paths = dict(modules())
    seen, waiting = {module}, [[module]]
    while waiting:
        way = waiting.pop()
        for imported in imports(paths[way[-1]]):
            if within(imported, "torch"):
                return [*way, imported]
            parts = imported.split(".")
            for name in {".".join(parts[:i]) for i in range(1, len(parts) + 1)} & paths.keys() - seen:
                seen.add(name)
                waiting.append([*way, name])
    return []


@pytest.mark.parametrize("module", [name for name, _ in modules() if any(within(name, p) for p in WITHOUT_TORCH)])
def test_no_way_leads_to_torch(module: str) -> None:
    """The HTTP layer, the server around it, and texts, know of the network only what is said of it."""
    assert way_to_torch(module) == []


def test_the_walk_finds_torch() -> None:
    """Through other modules of ours, too."""
    assert way_to_torch("app.main")[-1] == "torch"
    assert len(way_to_torch("app.inference.generator")) >= 2


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        ("app.images.sandbox", ("torch", "fastapi", "pydantic")),  # every decode process would pay for it
        ("app.cli", ("torch", "fastapi", "uvicorn", "numpy", "pydantic", "rich", "asyncio")),  # --help answers at once
        ("app.bulk.job", ("torch", "fastapi", "numpy", "pydicom")),  # it may only ask a service
        ("app.server.serve", ("torch",)),
        ("app.api.reports", ("httpx", "pynetdicom", "pydicom")),  # of an extra, or for other processes
        ("app.text.labeller", ("torch", "numpy")),
        ("app.inference.served_model", ("torch",)),
    ],
)
def test_what_is_to_start_light_does(imported: str, unwanted: tuple[str, ...]) -> None:
    """Once imported, none of these is in memory."""
    code = f"import sys, {imported}; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout.strip() == "[]"
