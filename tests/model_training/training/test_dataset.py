"""From studies to batches: what is learnt from, what is not, and that chance depends on the study alone."""

from __future__ import annotations

import csv
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from app.text.labeller import label_report
from app.text.tokenizer import BOS, PAD
from model_training.config import Config, config_from
from model_training.data import Study, read_collection
from model_training.data.readers.indiana import REPORTS
from model_training.train import add_arguments, prepare
from model_training.training.dataset import Batch, drop_labels, training_text
from model_training.training.distributed import Processes
from model_training.training.trainer import Trainer

MARKED = {
    "findings": "Unchanged cardiomegaly compared to the XXXX. XXXX XXXX XXXX of the XXXX. The lungs are clear.",
    "impression": "No acute disease.",
}


@pytest.fixture
def prepared(phantoms: Path, small_config: Config, tmp_path: Path) -> Callable[..., Trainer]:
    """Prepares training on a copy of the phantoms in which some studies have other texts."""

    def prepare_with(texts: dict[str, dict[str, str]], **data: object) -> Trainer:
        shutil.copytree(phantoms, tmp_path / "data")
        with (phantoms / REPORTS).open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (tmp_path / "data" / REPORTS).open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(row | texts.get(row["uid"], {}) for row in rows)
        content = small_config.as_dict()
        content["data"] |= data
        (tmp_path / "config.toml").write_text(config_from(content).to_toml())
        parser = ArgumentParser()
        add_arguments(parser)
        paths = ("--data", "data", "--config", "config.toml", "--out", "run")
        arguments = [word if word.startswith("--") else str(tmp_path / word) for word in paths]
        return prepare(parser.parse_args(arguments), Processes())

    return prepare_with


def uids(phantoms: Path, split: str) -> list[str]:
    with (phantoms / "split.csv").open(newline="") as file:
        return [row["uid"] for row in csv.DictReader(file) if row["split"] == split]


def test_excluded_studies_are_never_trained_on(
    prepared: Callable[..., Trainer], phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither for learning nor for selection, and the output counts them."""
    train, val = uids(phantoms, "train"), uids(phantoms, "val")
    trainer = prepared({}, exclude=[*train[:2], val[0], "4711"])
    assert [study.id for study in trainer.train.studies] == train[2:]
    assert [study.id for study in trainer.val.studies] == val[1:]
    printed = capsys.readouterr().out
    assert "train: 16 of 18 studies, 0 of them without text; left out: 2 held back by data.exclude" in printed
    assert "val: 5 of 6 studies, 0 of them without text; left out: 1 held back by data.exclude" in printed


def test_marks_and_prior_exams_never_reach_the_vocabulary(prepared: Callable[..., Trainer], phantoms: Path) -> None:
    """The text policy is between the collection and the words, and the labels still are those of the codes."""
    first = uids(phantoms, "train")[0]
    trainer = prepared({first: MARKED | {"MeSH": "Cardiomegaly/severe"}})
    words = {word.lower() for word in trainer.tokenizer.tokens}
    assert not {"xxxx", "unchanged", "compared"} & words
    assert trainer.train.texts[0]["findings"].endswith("The lungs are clear.")
    assert trainer.train.labels[0].tolist() == [1.0, 0.0]


def test_the_policy_can_keep_everything(small_config: Config) -> None:
    """As the protocol of published results does."""
    content = small_config.as_dict() | {"text": {"xxxx": "keep", "prior_exams": "keep"}}
    study = Study("1", (), findings=MARKED["findings"], impression=MARKED["impression"])
    text = training_text(study, config_from(content))["findings"]
    assert "XXXX" in text
    assert text.startswith("Unchanged cardiomegaly")


def test_a_study_without_text_has_no_words_to_learn(prepared: Callable[..., Trainer], phantoms: Path) -> None:
    """It does not teach to write an empty report."""
    first = uids(phantoms, "train")[0]
    trainer = prepared({first: {"findings": "", "impression": "XXXX XXXX."}})
    assert trainer.train.tokens[0] == [BOS, PAD]
    assert trainer.train.tokens[1][-1] != PAD


def test_what_is_random_does_not_depend_on_the_batch(prepared: Callable[..., Trainer]) -> None:
    """A study looks the same alone and among others, different in another epoch, and as it is without a seed."""
    examples = prepared({}).train

    def shown(studies: list[int], epoch: int) -> Batch:
        return examples.batch(studies, (1, epoch)).on_device(torch.device("cpu"))

    together, alone = shown([0, 1, 2], 5), shown([2], 5)
    mine = int(together.view_mask[:2].sum())
    torch.testing.assert_close(together.images[mine:], alone.images)
    assert not torch.allclose(shown([2], 6).images[:1], alone.images[:1])
    plain = torch.tensor(examples.images[: len(examples.studies[0].images)]).float()
    assert torch.equal(examples.batch([0]).images[:, 0], plain)


def test_the_fingerprint_tells_studies_apart(prepared: Callable[..., Trainer], phantoms: Path) -> None:
    """Training and validation differ, and so does a collection of which a word was changed."""
    trainer = prepared({})
    assert trainer.train.fingerprint() != trainer.val.fingerprint()
    before = trainer.train.fingerprint()
    trainer.train.tokens[0][1] += 1
    assert trainer.train.fingerprint() != before


def test_label_dropout_takes_labels_from_every_other_study_and_leaves_none_called_normal() -> None:
    """Never a label added or turned round, and never `normal` beside a label that was dropped."""
    study = Study("1", (), labels=(("normal", True), ("effusion", False), ("mass", None), ("nodule", False)))
    drawn = [drop_labels(study, 0.9, np.random.default_rng(seed)) for seed in range(200)]
    untouched = sum(one.labels == study.labels for one in drawn)
    assert 100 < untouched < 170  # half of them by design, others by luck
    for one in drawn:
        kept = [label for label in one.labels if label[1] is not None]
        assert set(kept) <= set(study.labels)
        assert dict(one.labels)["normal"] is None or one.labels == study.labels


@pytest.fixture
def paired(phantoms: Path, small_config: Config, tmp_path: Path) -> Callable[..., Trainer]:
    """Prepares training on phantom images with labels alone, paired with the reports of the phantoms."""
    lines = ["file,source,split,cardiomegaly,effusion,normal"]
    for i, study in enumerate(read_collection(phantoms).studies[:12]):
        shutil.copy(study.images[0].path, tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'a' if i < 8 else 'b'},{'val' if i % 4 == 0 else 'train'},{i % 2},,0")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")

    def prepare_with(*overrides: str) -> Trainer:
        (tmp_path / "config.toml").write_text(small_config.to_toml())
        parser = ArgumentParser()
        add_arguments(parser)
        arguments = ["--data", str(tmp_path), "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]
        settings = (f"data.reports={phantoms}", 'data.findings=["cardiomegaly", "effusion"]', *overrides)
        return prepare(parser.parse_args([*arguments, *(word for s in settings for word in ("--set", s))]), Processes())

    return prepare_with


def test_images_with_labels_alone_are_given_reports_drawn_afresh(paired: Callable[..., Trainer]) -> None:
    """Another every epoch and every repetition, the same for the same; validation keeps the one it has."""
    trainer = paired()
    draws = [trainer.train.batch([0], (1, epoch)).tokens.tolist() for epoch in range(12)]
    assert draws == [trainer.train.batch([0], (1, epoch)).tokens.tolist() for epoch in range(12)]
    again = [trainer.train.batch([len(trainer.train)], (1, epoch)).tokens.tolist() for epoch in range(12)]
    assert len({str(drawn) for drawn in draws}) > 1
    assert draws != again
    assert trainer.val.batch([0]).tokens[0].tolist() == trainer.val.tokens[0]


def test_drawn_reports_agree_with_the_label_and_leave_the_unlabelled_alone(paired: Callable[..., Trainer]) -> None:
    """The heart is labelled, the effusion is not."""
    trainer = paired()
    for study, text in zip(trainer.train.studies, trainer.train.texts, strict=True):
        mentions = label_report(" ".join(text.values()))
        assert mentions.keys() <= {"cardiomegaly"}
        assert ("cardiomegaly" in mentions and mentions["cardiomegaly"].status == "present") == (
            dict(study.labels)["cardiomegaly"] is True
        )
    assert trainer.train.labels.isnan().tolist() == [[False, True]] * len(trainer.train)


def test_reports_held_back_are_never_drawn(
    paired: Callable[..., Trainer], phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are those of validation: 18 phantoms are for training, two of them held back here."""
    held_back = uids(phantoms, "train")[:2]
    paired(f"data.exclude={held_back}")
    assert "weak pairing: 16 of 18 training reports" in capsys.readouterr().out
