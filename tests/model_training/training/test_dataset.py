"""From studies to batches: what is learnt from, what is not, and that chance depends on the study alone."""

from __future__ import annotations

import csv
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.text.labeller import label_report
from app.text.tokenizer import BOS, PAD
from model_training.config import Config, config_from
from model_training.data import Study, read_collection
from model_training.data.readers.indiana import REPORTS
from model_training.train import add_arguments, prepare
from model_training.training.dataset import Batch, training_text
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
    assert trainer.train.labels[0].tolist() == [1.0, 0.0, 1.0]


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


def test_what_is_not_labelled_teaches_no_finding(paired: Callable[..., Trainer]) -> None:
    """The heart is labelled, the effusion is not; an image is abnormal with a finding, or where it is not normal."""
    trainer = paired()
    assert trainer.train.labels.isnan().tolist() == [[False, True, False]] * len(trainer.train)
    assert trainer.train.labels[:, 2].tolist() == [1.0] * len(trainer.train)


def test_words_follow_the_facts_that_a_batch_is_told(paired: Callable[..., Trainer]) -> None:
    """Every row, in every draw: a finding stated or denied is mentioned so, one passed over is not."""
    trainer = paired()
    groups = ("cardiomegaly", "pleural effusion")
    for epoch in range(20):
        batch = trainer.train.batch(range(len(trainer.train)), (1, epoch))
        for ids, facts in zip(batch.tokens.tolist(), batch.facts.tolist(), strict=True):
            mentions = label_report(" ".join(trainer.tokenizer.decode(ids).values()))
            said = [mentions[group].status if group in mentions else None for group in groups]
            assert said == [{0: None, 1: "present", 2: "absent"}[fact[0]] for fact in facts[:2]]


def test_places_are_told_or_kept_back_and_never_made_up(prepared: Callable[..., Trainer]) -> None:
    """A decoder that sees the image learns to look: half of the time it is not told where a finding lies."""
    trainer = prepared({})
    left = next(i for i, facts in enumerate(trainer.train.facts) if facts[1].stated and facts[1].side)
    told = [trainer.train.batch([left], (1, epoch)).facts[0, 1].tolist() for epoch in range(60)]
    known = list(trainer.train.facts[left][1])
    assert {tuple(fact) for fact in told} == {tuple(known), (1, 0, 0)}
    assert 15 < told.count(known) < 45


def test_reports_held_back_are_never_drawn(
    paired: Callable[..., Trainer], phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are those of validation: 18 phantoms are for training, two of them held back here."""
    held_back = uids(phantoms, "train")[:2]
    paired(f"data.exclude={held_back}")
    assert "reports composed of 16 of 18 training reports" in capsys.readouterr().out
