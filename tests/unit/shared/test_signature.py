"""The user's function against the space, read from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunefleet.rules.code import code_problems
from tunefleet.study.spec import StudySpec

SPACE = {"lr": [0.1, 0.2], "optimizer": ["sgd", "adam"], "momentum": {"float": [0, 1], "when": "optimizer == 'sgd'"}}


def problems(
    folder: Path, source: str | None, *, function: str = "train:train", space: dict[str, Any] | None = None
) -> str:
    if source is not None:
        (folder / "train.py").write_text(source)
    spec = StudySpec.parse(
        {
            "name": "s",
            "objective": {"metric": "m", "goal": "minimize"},
            "run": {"function": function, "code": str(folder)},
            "space": space or SPACE,
        }
    )
    return "; ".join(map(str, code_problems(spec)))


@pytest.mark.parametrize(
    "source",
    [
        "def train(trial, lr, optimizer, momentum=0.9): ...",
        "def train(trial, **params): ...",
        "def train(*args, **params): ...",
        "def train(trial, /, lr, *, optimizer, momentum=None, verbose=False): ...",
        "def train(trial, lr, **rest): ...",
        "@decorated\ndef train(trial, lr, optimizer, momentum=0): ...",
        "from elsewhere import train",
        "train = make()",
        "if fast:\n    def train(trial): ...\nelse:\n    def train(trial, lr): ...",
    ],
)
def test_a_function_that_fits_passes(tmp_path: Path, source: str) -> None:
    assert problems(tmp_path, source) == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "def train(trial, lr, optimizer, momentum): ...",
            "must have a default for 'momentum', which is left out if",
        ),
        ("def train(trial, lr, optimizer): ...", "space.momentum: train(trial, lr, optimizer) does not take it"),
        (
            "def train(trial, learning_rate, optimizer, momentum=0): ...",
            "needs 'learning_rate', but the space has no such",
        ),
        ("def train(trial, l_r, optimizer, momentum=0): ...", "did you mean 'lr'?"),
        ("def train(): ...", "must take the trial as its first argument"),
        ("def train(trial, lr, optimizer, /, momentum=0): ...", "takes 'lr' by position only"),
        ("async def train(trial, **params): ...", "not an async one"),
        ("def trian(trial): ...", "has no function 'train'; did you mean 'trian'?"),
        ("", "has no function 'train'"),
        ("def train(:\n", "train.py:1 cannot be parsed"),
        ("x = '\0'", "cannot be parsed"),
    ],
)
def test_a_function_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, source: str, expected: str) -> None:
    assert expected in problems(tmp_path, source)


def test_a_missing_module_is_reported_with_the_likely_one(tmp_path: Path) -> None:
    text = problems(tmp_path, "def train(trial): ...", function="trian:train")
    assert "there is no module 'trian'" in text
    assert "did you mean 'train'?" in text


def test_a_package_and_a_module_in_it_are_found(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("def go(trial, **kw): ...")
    (tmp_path / "package" / "inner.py").write_text("def go(trial, **kw): ...")
    assert problems(tmp_path, None, function="package:go") == ""
    assert problems(tmp_path, None, function="package.inner:go") == ""


def test_nothing_of_the_users_code_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert problems(tmp_path, f"open({str(mark)!r}, 'w')\ndef train(trial, **kw): ...") == ""
    assert not mark.exists()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    assert "there is no such folder" in problems(tmp_path / "none", None)
