"""Files as people have them: every command ends in one line that names the file, or counts what it left out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision

from app.inference.uncertainty import AbstainRule
from model_training.__main__ import main
from model_training.config import Config, config_from
from model_training.data import read_collection
from model_training.data.study import Study
from model_training.export import undecided
from model_training.training import fitted_parts, run_folder
from tests.model_training.conftest import Bench
from tests.model_training.data.readers.layouts import (
    STUDIES,
    write_captions,
    write_kaggle,
    write_openi,
    write_r2gen,
    write_table,
)


def write_labelled(root: Path, studies: tuple[Study, ...]) -> None:
    """The studies as images with a label and a box each."""
    write_captions(root, studies)
    (root / "captions.csv").unlink()
    names = [f"images/{image.path.name}" for study in studies for image in study.images]
    write_table(root / "labels.csv", ("file", "mass", "split"), [(name, "1", "train") for name in names])
    header = ("file", "finding", "x_centre", "y_centre", "width", "height")
    write_table(root / "boxes.csv", header, [(name, "mass", "0.5", "0.5", "0.1", "0.1") for name in names])


def write_pair_with_annotation(root: Path, studies: tuple[Study, ...]) -> None:
    """The CSV pair whose split is R2Gen's."""
    write_kaggle(root, studies)
    (root / "split.csv").unlink()
    write_r2gen(root, studies)


LAYOUTS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "openi": (write_openi, ("ecgen-radiology/7.xml", "indiana_projections.csv", "split.csv")),
    "kaggle": (write_kaggle, ("indiana_reports.csv", "indiana_projections.csv", "split.csv")),
    "pair": (write_pair_with_annotation, ("annotation.json",)),
    "r2gen": (write_r2gen, ("annotation.json",)),
    "captions": (write_captions, ("captions.csv",)),
    "labelled": (write_labelled, ("labels.csv", "boxes.csv")),
}
DEEP = 100_000


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: _write(path, change(path.read_bytes()))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


MUTATIONS: dict[str, Callable[[Path], None]] = {
    "empty": _changed(lambda data: b""),
    "a byte order mark alone": _changed(lambda data: b"\xef\xbb\xbf"),
    "cut short": _changed(lambda data: data[: len(data) // 2]),
    "cut in its first line": _changed(lambda data: data[:3]),
    "NUL bytes": _changed(lambda data: data.replace(b"a", b"\0")),
    "NUL at its end": _changed(lambda data: data + b"\0\0\0\n"),
    "random bytes": _changed(lambda data: bytes(i * 167 % 256 for i in range(4000))),
    "UTF-16 without a mark": _changed(lambda data: data.decode().encode("utf-16-le")),
    "another encoding": _changed(lambda data: data.replace(b"e", b"\xe9")),
    "a quote in its header": _changed(lambda data: data.replace(b",", b',"', 1)),
    "a quote in its header, and long": _changed(lambda data: data.replace(b",", b',"', 1) + b"x,y\n" * 50_000),
    "a quote in its body": _changed(lambda data: data.replace(b"\n", b'\n"', 1)),
    "a quote in its body, and long": _changed(lambda data: data.replace(b"\n", b'\n"', 1) + b"x,y\n" * 50_000),
    "other delimiters": _changed(lambda data: data.replace(b",", b";")),
    "lines that end in CR": _changed(lambda data: data.replace(b"\r\n", b"\r")),
    "deep JSON": _changed(lambda data: b"[" * DEEP),
    "deep JSON that ends": _changed(lambda data: b'{"train":' * DEEP + b"1" + b"}" * DEEP),
    "a huge number": _changed(lambda data: b'{"train": [' + b"9" * 5000 + b"]}"),
    "numbers for lists": _changed(lambda data: b'{"train": 3}'),
    "strange items": _changed(
        lambda data: json.dumps(
            {"train": [None, 3, [], {"id": [1], "report": "x"}, {"id": 1, "report": 2},
                       {"id": float("nan"), "report": "x"}, {"id": "1", "report": "x", "image_path": [1]},
                       {"id": "1", "report": "\ud800", "image_path": []}, {"id": "1", "report": "x", "image_path": {}},
                       {"id": "2", "report": "x", "image_path": ["\0", "a\0/b.png"], "split": [1]},
                       {"id": True, "report": "x", "subject_id": {}}, {"id": 5, "report": "x", "split": {"a": 1}}]}
        ).encode()
    ),
    "an unknown encoding": _changed(lambda data: b'<?xml version="1.0" encoding="x-none"?><eCitation/>'),
    "an encoding of many bytes": _changed(lambda data: b'<?xml version="1.0" encoding="shift_jis"?><eCitation/>'),
    "a bomb": _changed(lambda data: b'<!DOCTYPE e [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><eCitation>&b;</eCitation>'),
    "an external entity": _changed(lambda data: b'<!DOCTYPE e [<!ENTITY x SYSTEM "file:///x">]><eCitation>&x;</eCitation>'),
    "deep XML": _changed(lambda data: b"<a>" * DEEP + b"</a>" * DEEP),
    "a folder": _directory,
    "a link to nowhere": _dangling,
}  # fmt: skip
CASES = [
    pytest.param(layout, file, mutation, id=f"{layout}-{Path(file).name}-{mutation}")
    for layout, (_, files) in LAYOUTS.items()
    for file in files
    for mutation in MUTATIONS
]


def one_line(status: int, printed: tuple[str, str]) -> str:
    """The only line of an error, which is all that is printed of it."""
    assert status == 2, printed
    lines = printed[1].splitlines()
    assert len(lines) == 1, printed
    assert lines[0].startswith("error: "), printed
    return lines[0]


@pytest.mark.parametrize(("layout", "file", "mutation"), CASES)
def test_a_broken_collection_is_one_line_or_a_named_problem(
    layout: str, file: str, mutation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is done to any file of any layout, `describe` and `labeller` end by themselves."""
    write, _ = LAYOUTS[layout]
    write(tmp_path, STUDIES)
    MUTATIONS[mutation](tmp_path / file)
    for command in (["describe"], ["labeller", "--split", "train"]):
        status = main([*command, "--data", str(tmp_path)])
        printed = capsys.readouterr()
        if status:
            assert str(tmp_path) in one_line(status, printed)
        else:
            assert printed.err == ""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_byte_order_mark_changes_nothing(layout: str, encoding: str, tmp_path: Path) -> None:
    """CSV, JSON and XML are read by the mark that an editor has put before them."""
    write, files = LAYOUTS[layout]
    write(tmp_path, STUDIES)
    plain = read_collection(tmp_path)
    for file in files:
        if not (file.endswith("xml") and encoding != "utf-8-sig"):
            text = (tmp_path / file).read_text(encoding="utf-8")
            (tmp_path / file).write_text(text, encoding=encoding, newline="")
    marked = read_collection(tmp_path)
    assert (marked.studies, marked.problems) == (plain.studies, plain.problems)


def test_rows_that_a_quote_swallows_are_named(tmp_path: Path) -> None:
    """Not read as one long caption: the column count alone would not tell."""
    rows = "".join(f"{i}.png,Clear.\n" for i in range(3, 8))
    (tmp_path / "captions.csv").write_text(f'image,caption\n1.png,Clear.\n2.png,"Clear.\n{rows}')
    collection = read_collection(tmp_path)
    assert [study.id for study in collection.studies] == ["1.png"]
    assert collection.problem("unreadable-row") == ("captions.csv:3-8 (its quote is not closed)",)


@pytest.mark.parametrize("number", ["1e400", "-0.1", "1.5", "1e30"])
def test_a_box_outside_of_the_image_is_named(number: str, tmp_path: Path) -> None:
    """Numbers that are finite and yet no share of an image."""
    write_labelled(tmp_path, STUDIES)
    path = tmp_path / "boxes.csv"
    path.write_text(path.read_text().replace("0.5", number, 1))
    assert len(read_collection(tmp_path).problem("unreadable-box")) == 1


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("film-3", "film-3.png"),
        ("film-3.jpg", "film-3.png"),
        ("Film-3.PNG", "film-3.png"),
        ("images/film-3.png", "film-3.png"),
        ("C:\\films\\film-3.png", "images/film-3.png"),
        ("film-3", "images/film-3.JPEG"),
    ],
)
def test_the_file_that_was_probably_meant_is_named(named: str, there: str, tmp_path: Path) -> None:
    """Without its ending, with another one, in other letters, or in another folder."""
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    write_table(tmp_path / "captions.csv", ("image", "caption"), [(named, "Clear."), ("film-4.png", "Clear.")])
    assert read_collection(tmp_path).problem("missing-image") == (f"{named} ({there} is there)", "film-4.png")


@pytest.fixture
def damaged(tmp_path: Path, phantoms: Path) -> Path:
    """The phantoms with one image cut short, one empty, and one that is text."""
    folder = tmp_path / "damaged"
    shutil.copytree(phantoms, folder)
    for uid, data in (("1", None), ("2", b""), ("3", b"GIF89a no picture")):
        path = next((folder / "images").glob(f"{uid}_*-1001.png"), None) or next((folder / "images").glob(f"{uid}_*"))
        path.write_bytes(path.read_bytes()[:200] if data is None else data)
    return folder


def test_describe_decodes_images_when_asked(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted and named like other problems, with the reason."""
    assert main(["describe", "--data", str(damaged)]) == 0
    assert "unreadable-image" not in capsys.readouterr().out
    assert main(["describe", "--data", str(damaged), "--images"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "unreadable-image" in line)
    assert line.strip().startswith("3 unreadable-image: ")
    for part in ("1_IM-0001", "2_IM-0002", "3_IM-0003", "damaged or incomplete", "is empty", "not PNG, JPEG or DICOM"):
        assert part in line


def test_training_names_every_damaged_image(
    damaged: Path, small_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of the split in one go, and what to do; nothing half made stays behind."""
    (tmp_path / "small.toml").write_text(small_config.to_toml())
    arguments = ["--data", str(damaged), "--config", str(tmp_path / "small.toml"), "--out", str(tmp_path / "run")]
    said = one_line(main(["train", *arguments]), capsys.readouterr())
    held = {study.split: study.id for study in read_collection(damaged).studies if study.id in ("1", "2", "3")}
    assert "images cannot be read" in said
    assert "describe --images" in said
    assert any(f"/{uid}_IM-" in said for uid in held.values())
    assert list((tmp_path / "run" / "cache").iterdir()) == []


@pytest.fixture(scope="module")
def run(bench: Bench, small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is not finished, with every file that a run may have."""
    folder = tmp_path_factory.mktemp("run")
    trainer = bench.trainer(small_config, folder)
    trainer.save()
    run_folder.save_run(folder, trainer.model, trainer.tokenizer, small_config)
    decided = tuple(map(undecided, small_config.data.findings))
    fitted = run_folder.Calibration(decided, None, AbstainRule(0.5, 0.0), studies=6)
    (folder / run_folder.CALIBRATION).write_bytes(fitted.to_json())
    fitted_parts.save_ood_head(folder, {"head": {}, "view_head": {}, "laterals": True})
    (folder / "evaluation.json").write_text("{}")
    (folder / "small.toml").write_text(small_config.to_toml())
    return folder


BROKEN = ("empty", "cut short", "random bytes", "deep JSON", "NUL bytes", "numbers for lists", "a folder")


@pytest.mark.parametrize("mutation", BROKEN)
@pytest.mark.parametrize("file", ["training.pt", "calibration.json", "ood_head.pt", "evaluation.json", "run.json"])
def test_a_broken_file_of_a_run_is_named_by_export(
    file: str, mutation: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file that a checkpoint is made of."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / run_folder.STATE).unlink()
    if file != "ood_head.pt":
        (folder / "ood_head.pt").unlink()
    if file == "run.json":
        (folder / file).write_text('{"starts": []}')
    MUTATIONS[mutation](folder / file)
    evaluation = ["--evaluation", str(folder / "evaluation.json")] if file == "evaluation.json" else []
    status = main(["export", "--run", str(folder), "--out", str(tmp_path / "x.pt"), *evaluation])
    if (file, mutation) == ("run.json", "numbers for lists"):
        assert status == 0  # a record without a start says nothing wrong
    else:
        assert file in one_line(status, capsys.readouterr())
    if file == "evaluation.json":
        assert file in one_line(main(["compare", f"a={folder / file}"]), capsys.readouterr())


@pytest.mark.parametrize(
    ("file", "mutation"),
    # An empty configuration is one: everything by default.
    [(file, m) for file in ("state.pt", "small.toml") for m in BROKEN if (file, m) != ("small.toml", "empty")],
)
def test_a_broken_file_is_named_when_training_goes_on(
    file: str, mutation: str, run: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state to go on from, and the configuration."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    MUTATIONS[mutation](folder / file)
    arguments = ["--config", str(folder / "small.toml"), "--out", str(folder), "--cache", str(run.parent / "cache")]
    assert file in one_line(main(["train", "--data", str(phantoms), *arguments]), capsys.readouterr())


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04", b"\0" * 5000])
def test_a_checkpoint_that_is_no_archive_is_named(
    data: bytes, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that takes one, with a pin that is none, too."""
    path = tmp_path / "film.pt"
    path.write_bytes(data)
    out = ["--data", str(phantoms), "--out", str(tmp_path / "out")]
    for pin in (b"\xff\xfe\0", b""):
        (tmp_path / "film.pt.sha256").write_bytes(pin)
        for command in (["evaluate", str(path), *out], ["gallery", str(path), *out], ["card", str(path)]):
            assert "film.pt" in one_line(main(command), capsys.readouterr())


def test_export_says_that_a_run_is_not_finished(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an epoch, that it is the best so far; without one, what would help."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "ood_head.pt").unlink()
    export = ["export", "--run", str(folder), "--out", str(tmp_path / "x.pt")]
    assert main(export) == 0
    assert "is not finished" in capsys.readouterr().out
    (folder / run_folder.FILE).unlink()
    said = one_line(main(export), capsys.readouterr())
    assert "is not finished" in said
    assert "`train`" in said


def test_training_without_a_network_says_which_setting_helps(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that cannot be fetched are no riddle."""

    def unreachable(*_: object, **__: object) -> None:
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(torchvision.models, "get_model", unreachable)
    sets = ["--set", "model.encoder=resnet-18", "--set", "model.encoder_weights=IMAGENET1K_V1"]
    arguments = ["--data", str(phantoms), "--config", "phantom", "--out", str(tmp_path / "run"), *sets]
    said = one_line(main(["train", *arguments]), capsys.readouterr())
    assert "--set model.encoder_weights=FILE" in said
    assert "Name or service not known" in said


def test_a_card_repeats_only_what_the_run_did(tmp_path: Path) -> None:
    """Weights that were not asked for and exclusions that left nobody out are not claimed."""
    words = {"training_data": ["films"], "encoder_data": "ImageNet", "held_back": "fifteen"}
    content = {"model": {"encoder_weights": "IMAGENET1K_V1"}, "data": {"exclude": ["@indiana"]}, "card": words}
    config = config_from(content)
    assert run_folder.as_done(config, tmp_path).learnt_from == ("films", "fifteen", "ImageNet")
    (tmp_path / run_folder.RECORD).write_text(json.dumps({"starts": [{run_folder.HELD_BACK: 0}]}))
    assert run_folder.as_done(config, tmp_path).learnt_from == ("films", "ImageNet")
    other = config_from({**content, "model": {}})
    assert run_folder.as_done(other, tmp_path).learnt_from == ("films",)
    begun = config_from({**content, "training": {"start_from": "runs/first"}})
    assert run_folder.as_done(begun, tmp_path).learnt_from == ("films",)


@pytest.mark.parametrize(
    "command",
    [
        ["model_training", "describe", "--names", "20000"],
        ["model_training", "labeller", "--split", "train"],
        ["model_training", "compare", "--help"],
        ["app.cli", "predict", "--help"],
    ],
)
def test_a_reader_that_leaves_ends_a_command_quietly(command: list[str], tmp_path: Path) -> None:
    """As `| head` does: no word on standard error, and a status that says it was not done, but of argparse's help."""
    write_kaggle(tmp_path, STUDIES)
    data = [] if "--help" in command else ["--data", str(tmp_path)]
    read, written = os.pipe()
    os.close(read)
    try:
        ours = [sys.executable, "-m", *command, *data]
        done = subprocess.run(ours, stdout=written, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 our own
    finally:
        os.close(written)
    assert (done.returncode, done.stderr) == (0 if "compare" in command else 141, "")


@pytest.mark.parametrize("command", ["baselines", "labeller"])
def test_every_command_tells_which_split_it_used(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever layout there is: of the CSV pair that of `split.csv`, before R2Gen's."""
    monkeypatch.setattr(shutil, "which", lambda _: None)  # METEOR takes seconds
    write_kaggle(tmp_path, STUDIES)
    write_r2gen(tmp_path, STUDIES)
    assert main([command, "--data", str(tmp_path)]) == 0
    assert "from split.csv" in capsys.readouterr().out.splitlines()[0]
    (tmp_path / "split.csv").unlink()
    assert main([command, "--data", str(tmp_path)]) == 0
    assert "from annotation.json" in capsys.readouterr().out.splitlines()[0]
