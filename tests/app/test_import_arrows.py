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

# Module prefix to what it may import of ours; the longest prefix that fits decides.
ALLOWED: dict[str, tuple[str, ...]] = {
    "app": ("app",),  # main, cli and what else starts the service
    "app.report": (),
    "app.settings": (),
    "app.telemetry": (),
    "app.images": ("app.images", "app.report"),
    "app.text": ("app.text", "app.report"),
    "app.inference": ("app.inference", "app.text", "app.report"),
    "app.interop": ("app.interop", "app.text", "app.report"),
    "app.api": (
        "app.api",
        "app.images",
        "app.inference",
        "app.interop",
        "app.text",
        "app.report",
        "app.settings",
        "app.telemetry",
    ),
    "model_training": ("model_training", "app.inference", "app.images", "app.text", "app.report"),
}
# And what of others' it must not.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "app": (),
    "app.report": ("torch", "fastapi", "starlette", "pydantic"),
    "app.images": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.text": ("torch", "fastapi", "starlette", "pydantic", "pydantic_settings"),
    "app.inference": ("fastapi", "starlette", "pydantic", "pydantic_settings", "prometheus_client"),
    "app.api": ("torch",),
    "model_training": ("fastapi", "starlette", "uvicorn"),
}


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
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if node.module in OURS else node.module


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_arrows(module: str, path: Path) -> None:
    """A module imports only what its arrows point at."""
    allowed, forbidden = rule(ALLOWED, module), rule(FORBIDDEN, module)
    for imported in imports(path):
        if any(within(imported, package) for package in OURS):
            assert any(within(imported, prefix) for prefix in allowed), f"{module} imports {imported}"
        assert not any(within(imported, prefix) for prefix in forbidden), f"{module} imports {imported}"


def test_decode_workers_start_light() -> None:
    """The images package loads neither torch nor the web framework: every decode process would pay for it."""
    code = "import sys, app.images.sandbox; print([m for m in ('torch', 'fastapi', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout.strip() == "[]"
