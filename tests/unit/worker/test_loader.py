"""The user's function is found, or the message names what exists."""

from __future__ import annotations

import sys

import pytest

from tunefleet_worker.loader import LoadError, check_signature, load_function


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a code folder; remove its modules after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_function_is_loaded_from_the_folder(folder):
    (folder / "loader_good.py").write_text("def train(trial, lr):\n    return lr\n")
    assert load_function("loader_good:train", folder)(None, 3) == 3


@pytest.mark.parametrize(
    ("code", "target", "says"),
    [
        ("", "nowhere:train", "there is no module 'nowhere'.*it has loader_case"),
        ("", "nowhere.deep:train", "there is no module 'nowhere'"),
        ("import not_installed_here\n", "loader_case:train", "imports 'not_installed_here', which is not installed"),
        ("def train(trial): ...\n", "loader_case:trian", "loader_case.py.*no function 'trian'; did you mean 'train'"),
        ("x = 1\n", "loader_case:train", "it defines no function"),
        ("train = 3\n", "loader_case:train", "is a int, and not a function"),
    ],
)
def test_what_is_wrong_is_said(folder, code, target, says):
    (folder / "loader_case.py").write_text(code)
    with pytest.raises(LoadError, match=says):
        load_function(target, folder)


def test_what_the_module_raises_is_the_users_own_error(folder):
    (folder / "loader_raises.py").write_text("raise RuntimeError('mine')\n")
    with pytest.raises(RuntimeError, match="mine"):
        load_function("loader_raises:train", folder)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda trial, lr: ..., ["lr"]),
        (lambda trial, lr, momentum=0.9: ..., ["lr"]),
        (lambda trial, **params: ..., ["lr", "anything"]),
        (lambda *all, lr: ..., ["lr"]),
        (lambda trial, *, lr: ..., ["lr"]),
        (dict, ["lr"]),
    ],
)
def test_signatures_that_fit(function, names):
    check_signature(function, names, target="train:train")


@pytest.mark.parametrize(
    ("function", "names", "says"),
    [
        (lambda trial, lr: ..., ["lr", "learning"], "has no argument 'learning'"),
        (
            lambda trial, learning_rate: ...,
            ["learning_rat"],
            "no argument 'learning_rat'; did you mean 'learning_rate'",
        ),
        (lambda trial, lr, momentum: ..., ["lr"], "'momentum' gets no value.*default"),
        (lambda: ..., [], "takes no positional argument"),
        (lambda *, trial: ..., [], "takes no positional argument"),
    ],
)
def test_signatures_that_do_not_fit_are_explained(function, names, says):
    with pytest.raises(LoadError, match=says):
        check_signature(function, names, target="train:train")
