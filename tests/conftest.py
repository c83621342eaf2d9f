"""Parts shared by all tests: a tiny checkpoint with random weights, exported once a run, and the real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from app.text.tokenizer import Tokenizer
from model_training.config import Config, config_from
from model_training.export import export_model
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="thousands of requests and studies instead of hundreds")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there is time: two lengths of the same tests."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that docs/training.md describes, from XRAY_REPORT_DATA or `../shared/data`."""
    folder = Path(os.environ.get("XRAY_REPORT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there and XRAY_REPORT_DATA names no other folder")
    return folder


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """The smallest network that still has every part."""
    return config_from(
        {
            "model": {"encoder": "resnet-tiny", "image_size": 64, "width": 32, "layers": 2, "heads": 2,
                      "max_new_tokens": 40},
            "data": {"findings": ["cardiomegaly", "pleural effusion", "pneumothorax"]},
            "card": {"name": "tiny", "version": "0", "training_data": ["none: random weights"]},
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_config: Config) -> Tokenizer:
    """The vocabulary of a few sentences."""
    reports = [
        {"findings": "The heart is normal in size. The lungs are clear.", "impression": "No acute disease."},
        {"findings": "There is a small left pleural effusion. No pneumothorax.", "impression": "Left effusion."},
        {"findings": "Mild cardiomegaly, with a large right PA opacity.", "impression": "Cardiomegaly; follow-up."},
    ]
    return Tokenizer.build(reports, tiny_config.data.sections)


@pytest.fixture(scope="session")
def tiny_model(tiny_config: Config, tiny_tokenizer: Tokenizer) -> ReportModel:
    """Random weights, spread wide enough that different images get different reports."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = build_model(tiny_config, len(tiny_tokenizer))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3.0)
        return model.eval()


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config
) -> Path:
    """The tiny model as a real archive, its SHA-256 beside it."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    export_model(tiny_model, tiny_tokenizer, tiny_config, path)
    return path
