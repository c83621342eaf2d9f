"""The training command, ready to be started on the phantoms."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_training.config import Config
from tests.model_training.training.launching import Launcher


@pytest.fixture(scope="module")
def launcher(phantoms: Path, small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    root = tmp_path_factory.mktemp("runs")
    (root / "small.toml").write_text(small_config.to_toml())
    return Launcher(phantoms, root / "small.toml", root)
