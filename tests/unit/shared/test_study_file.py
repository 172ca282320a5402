"""Study files: YAML 1.2, and errors with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunefleet.client.study_file import load_study
from tunefleet.errors import InvalidInput
from tunefleet.study import yaml
from tunefleet.study.spec import FunctionRun

SOUND = """\
name: digits
objective: {metric: val_accuracy, goal: maximize}
run: {task: image_classification, dataset: digits}
space:
  lr: {log: [1e-6, 1e-1]}
steps: 3
"""


def load(tmp_path: Path, text: str, name: str = "study.yaml"):
    file = tmp_path / name
    file.write_text(text)
    return load_study(file)


def message_of(tmp_path: Path, text: str, name: str = "study.yaml") -> str:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, text, name)
    return "\n".join(str(problem) for problem in caught.value.problems).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("12", 12),
        ("-3", -3),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 17),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ("sgd", "sgd"),
        ("2h", "2h"),
        ("e5", "e5"),
        (".", "."),
    ],
)
def test_plain_values_follow_yaml_12(text: str, value: Any) -> None:
    read = yaml.load(f"key: {text}")[0]["key"]
    assert read == value
    assert type(read) is type(value)


def test_infinity_is_read_and_then_refused_by_the_spec(tmp_path: Path) -> None:
    assert "finite" in message_of(tmp_path, SOUND.replace("1e-1", ".inf"))


def test_a_valid_file_becomes_a_spec(tmp_path: Path) -> None:
    spec = load(tmp_path, SOUND)
    assert spec.space["lr"].to_unit(1e-6) == 0


def test_json_gives_the_same_spec(tmp_path: Path) -> None:
    spec = load(tmp_path, SOUND)
    assert load(tmp_path, json.dumps(spec.to_json()), "study.json") == spec


def test_code_is_relative_to_the_files_folder(tmp_path: Path) -> None:
    text = SOUND.replace("{task: image_classification, dataset: digits}", "{function: 'train:train', code: .}")
    run = load(tmp_path, text).run
    assert isinstance(run, FunctionRun)
    assert run.code == str(tmp_path.resolve())


def test_an_unknown_key_is_named_with_its_line_and_the_likely_one(tmp_path: Path) -> None:
    text = SOUND + "bugdet: {trials: 3}\n"
    assert message_of(tmp_path, text) == "study.yaml:7: bugdet: unknown key 'bugdet'; did you mean 'budget'?"


def test_a_broken_range_is_named_with_its_line(tmp_path: Path) -> None:
    text = SOUND.replace("[1e-6, 1e-1]", "[1, 0.5]")
    assert message_of(tmp_path, text).startswith("study.yaml:5: space.lr")


def test_all_problems_are_reported(tmp_path: Path) -> None:
    text = SOUND.replace("steps: 3", "steps: many").replace("maximize", "best")
    assert message_of(tmp_path, text).count("study.yaml:") == 2


def test_a_missing_key_is_reported_without_a_line(tmp_path: Path) -> None:
    text = SOUND.replace("steps: 3\n", "").replace("name: digits\n", "")
    assert message_of(tmp_path, text) == "study.yaml: name: is required"


def test_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    text = SOUND.replace("steps: 3", "  lr: [1, 2]")
    assert message_of(tmp_path, text) == "study.yaml:6: the key 'lr' occurs twice, first in line 5"
    assert "'name' occurs twice" in message_of(tmp_path, '{"name": "a", "name": "b"}', "study.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1, 2", "study.yaml:1"),
        ("a: b: c", "study.yaml:1"),
        ("\tname: x", "study.yaml:1"),
        ("", "a study is a mapping"),
        ("- a", "a study is a mapping"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "document"),
        ("1: x", "the key 1 is not text"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_invalid_content_is_reported_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message_of(tmp_path, text)


def test_json_that_does_not_parse_names_its_line(tmp_path: Path) -> None:
    assert message_of(tmp_path, '{\n"name": }', "study.json").startswith("study.json:2: is not valid JSON")
    assert "NaN is not a JSON number" in message_of(tmp_path, '{"steps": NaN}', "study.json")


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.yaml: cannot be read: no such file"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="cannot be read: is a directory"):
        load_study(tmp_path)


def test_a_binary_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_study(tmp_path / "study.yaml")
