"""The command line against a real master: output and exit codes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tunefleet
from tunefleet.cli.main import run
from tunefleet.client.client import Client
from tunefleet.client.study import Study


@dataclass(frozen=True)
class Ran:
    """The output and exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `tunefleet` as its entry point does, against the module's master."""

    def call(*arguments: object) -> Ran:
        monkeypatch.setenv("TUNEFLEET_URL", client.url)
        monkeypatch.setattr(sys, "argv", ["tunefleet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        printed = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, printed.out, printed.err)

    return call


@pytest.fixture
def file(tmp_path: Path, study_name: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: {study_name}\n"
        "objective: {metric: loss, goal: minimize}\n"
        "run: {command: 'true'}\n"
        "space:\n  lr: {log: [1e-4, 1e-1]}\n  opt: [sgd, adam]\n  decay: {float: [0, 1], when: \"opt == 'sgd'\"}\n"
        "search: {sampler: random, seed: 1}\n"
        "budget: {trials: 3}\n"
    )
    return path


@pytest.fixture
def study(client: Client, file: Path) -> Study:
    return client.submit(file)


def finish(study: Study) -> None:
    for trial in study.claims():
        with trial:
            trial.report(loss=float(trial.params["lr"]))  # type: ignore[arg-type]


def test_submit_prints_the_master_and_the_next_command(cli: Cli, file: Path, study_name: str) -> None:
    ran = cli("submit", file)
    assert ran.code == 0
    assert f"Submitted study {study_name} to http://" in ran.err
    assert f"tunefleet watch {study_name}" in ran.err
    assert cli("submit", file, "--json").json["name"] == study_name


def test_lists_show_every_study(cli: Cli, study: Study) -> None:
    assert study.name in cli("ls").out
    assert study.name in [view["name"] for view in cli("ls", "--json").json]


def test_show_prints_state_and_spec(cli: Cli, study: Study) -> None:
    out = cli("show", study.name).out
    assert "minimize loss" in out
    assert "when: opt == 'sgd'" in out
    assert cli("show", study.name, "--json").json["spec"]["budget"]["trials"] == 3


def test_trials_are_listed_in_the_requested_order(cli: Cli, study: Study) -> None:
    finish(study)
    rates = [trial["params"]["lr"] for trial in cli("trials", study.name, "--sort", "-lr", "--json").json]
    assert rates == sorted(rates, reverse=True)
    out = cli("trials", study.name, "--sort", "value", "--limit", 2)
    assert out.out.count("complete") == 2
    assert "1 more; see them with --limit 3" in out.err
    assert cli("trials", study.name, "--state", "failed", "--json").json == []


def test_a_wrong_sort_or_state_is_refused_with_a_suggestion(cli: Cli, study: Study) -> None:
    wrong = cli("trials", study.name, "--sort", "valeu")
    assert wrong.code == 2
    assert "did you mean 'value'?" in wrong.err
    wrong = cli("trials", study.name, "--state", "complet")
    assert wrong.code == 2
    assert "did you mean 'complete'?" in wrong.err


def test_the_best_trial_and_its_files_are_downloaded(cli: Cli, study: Study, tmp_path: Path) -> None:
    nothing = cli("best", study.name)
    assert nothing.code == 2
    assert "has a value yet" in nothing.err
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    for trial in study.claims():
        with trial:
            trial.report(loss=float(trial.params["lr"]))  # type: ignore[arg-type]
            trial.save("model.bin", model)
    ran = cli("best", study.name, "--download", tmp_path / "out", "--json")
    assert ran.json["value"] == min(trial.value or 9 for trial in study.trials())
    assert Path(ran.json["files"][0]).read_bytes() == b"weights"


def test_watch_ends_with_the_study(cli: Cli, study: Study) -> None:
    finish(study)
    ran = cli("watch", study.name)
    assert ran.code == 0
    assert "3/3 trials, complete" in ran.err
    assert "best loss" in ran.err


def test_watch_of_a_stopped_study_exits_with_code_one(cli: Cli, study: Study) -> None:
    study.stop()
    assert cli("watch", study.name, "--json").code == 1


def test_control_commands_print_the_new_state(cli: Cli, study: Study) -> None:
    assert "paused" in cli("pause", study.name).err
    assert "running" in cli("resume", study.name).err
    assert cli("edit", study.name, "--trials", 9, "--priority", 2, "--json").json["budget"]["trials"] == 9
    assert "at least one of" in cli("edit", study.name).err
    refused = cli("rm", study.name, "--yes")
    assert refused.code == 1
    assert "tunefleet stop" in refused.err
    assert "0/9 trials, stopped" in cli("stop", study.name).err
    assert "Deleted study" in cli("rm", study.name, "--yes").err
    assert cli("show", study.name).code == 2


def test_resume_of_a_complete_study_explains_how_to_add_trials(cli: Cli, study: Study) -> None:
    finish(study)
    ran = cli("resume", study.name)
    assert f"More trials: `tunefleet edit {study.name} --trials 10`." in ran.err
    assert "3/10 trials, 0 running" in cli("edit", study.name, "--trials", 10).err


def test_a_stopped_study_does_not_count_trials_that_never_ran(cli: Cli, study: Study) -> None:
    with study.claim() as trial:
        assert trial is not None
        trial.report(loss=1)
    assert "1/3 trials, stopped (the study was stopped), 2 cancelled" in cli("stop", study.name).err
    assert cli("ls").out.count("1/3") == 1


class Terminal(io.StringIO):
    """Input from a terminal."""

    def isatty(self) -> bool:
        return True


def test_rm_asks_for_confirmation_on_a_terminal_only(cli: Cli, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.stop()
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    refused = cli("rm", study.name)
    assert refused.code == 1
    assert f"Delete {study.name} with all its trials and models?" in refused.err
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert "Deleted study" in cli("rm", study.name).err


def test_a_misspelt_name_is_answered_with_a_suggestion(cli: Cli, study: Study) -> None:
    for command in ("show", "watch", "trials"):
        wrong = cli(command, study.name[:-1])
        assert wrong.code == 2
        assert f"hint: Did you mean '{study.name}'?" in wrong.err
    assert "Did you mean" not in cli("show", "zzz").err


def test_a_study_without_eligible_workers_shows_the_reason(cli: Cli, file: Path, study_name: str) -> None:
    file.write_text(file.read_text() + "resources: {gpus: 3, labels: [a100]}\n")
    reason = f"no worker takes trials of {study_name}: "
    said = cli("submit", file).err
    assert f"warning: {reason}" in said
    assert "start one: tunefleet-worker run" in said or "it needs a worker that" in said
    assert reason in cli("workers").err
    assert "no worker takes its trials" in cli("ls").out
    assert "none takes its trials" in cli("show", study_name).out
    assert "no worker takes its trials" in cli("best", study_name).err
    assert cli("show", study_name, "--json").json["unclaimed"]


def test_watch_of_a_study_without_workers_shows_the_reason_once(cli: Cli, study: Study) -> None:
    finisher = threading.Timer(2.0, finish, [study])
    finisher.start()
    ran = cli("watch", study.name)
    finisher.join()
    assert ran.err.count(f"no worker takes trials of {study.name}: ") == 1


def test_a_study_with_failed_trials_only_shows_the_failure_and_a_hint(cli: Cli, study: Study) -> None:
    study.edit(trials=3)
    while not (view := study.view()).finished_at:
        with contextlib.suppress(ZeroDivisionError), study.claim() as trial:
            assert trial is not None, view
            _ = 1 / (0 if trial.number >= 0 else 1)
        if study.view().message.startswith("the same exception"):
            study.resume()
    assert study.view().message.endswith("; all 3 trials failed")
    watched = cli("watch", study.name)
    assert "3/3 trials, complete (the budget of 3 trials is spent; all 3 trials failed)" in watched.err
    assert "trial 0 failed: ZeroDivisionError: division by zero" in watched.err
    assert f"hint: See what it printed: tunefleet logs {study.name} 0" in watched.err
    assert watched.code == 1
    best = cli("best", study.name)
    assert f"error: No trial of {study.name} has a value: 3 failed, and the study is complete." in best.err
    assert f"tunefleet retry {study.name} --failed" in best.err


def test_piped_tables_contain_whole_messages(cli: Cli, study: Study) -> None:
    with pytest.raises(ValueError, match="x"), study.claim():
        raise ValueError("x" * 3_000)
    with pytest.raises(ValueError, match="x"), study.claim():
        raise ValueError("x" * 3_000)
    assert "x" * 3_000 in cli("trials", study.name, "--state", "failed").out


def test_add_reads_values_in_the_syntax_of_a_study_file(cli: Cli, study: Study) -> None:
    study.edit(trials=50)
    trial = cli("add", study.name, "lr=1e-3", "opt=adam", "--json").json
    assert trial["params"] == {"lr": 0.001, "opt": "adam"}
    wrong = cli("add", study.name, "lr=1", "opt=adam", "decay=0.1")
    assert wrong.code == 2
    assert "error: params.lr = 1: is not in log [0.0001, 0.1]" in wrong.err
    assert "error: params.decay: must be left out" in wrong.err
    assert "NAME=VALUE" in cli("add", study.name, "lr").err


def test_an_export_can_be_read_back(cli: Cli, study: Study, tmp_path: Path) -> None:
    finish(study)
    out = tmp_path / "trials.csv"
    assert "Wrote 3 trials" in cli("export", study.name, "csv", "--out", out).err
    with out.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert {float(row["params.lr"]) for row in rows} == {trial.params["lr"] for trial in study.trials()}
    as_json = cli("export", study.name, "json").json
    for name in ("created_at", "started_at", "finished_at"):
        assert [row[name] for row in rows] == [trial[name] for trial in as_json]
    wrong = cli("export", study.name, "jsn")
    assert wrong.code == 2
    assert "error: format = 'jsn': there is no such format; did you mean 'json'?" in wrong.err


def test_the_log_of_a_failed_trial_is_its_tail(cli: Cli, study: Study) -> None:
    assert "printed nothing that the master has received yet" in cli("logs", study.name, 0).err
    with pytest.raises(ZeroDivisionError), study.claim():
        _ = 1 / 0
    assert "ZeroDivisionError" in cli("logs", study.name, 0).out
    assert cli("logs", study.name, 99).code == 2


def test_logs_distinguish_ended_trials_without_output_from_running_ones(cli: Cli, study: Study) -> None:
    finish(study)
    for options in ([], ["-f"]):
        assert cli("logs", study.name, 0, *options).err == "Trial 0 has printed nothing.\n"


def test_a_stored_log_is_printed_once(cli: Cli, study: Study, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("first line\n")
    with study.claim() as trial:
        assert trial is not None
        trial.save("log.txt", log)
        trial.report(loss=1)
    assert cli("logs", study.name, trial.number).out == "first line\n"
    assert cli("logs", study.name, trial.number, "-f").out == "first line\n"


def test_failed_trials_are_run_again(cli: Cli, study: Study) -> None:
    for _ in range(2):  # `retry.error` is 1: the second failure is the last
        with pytest.raises(ZeroDivisionError), study.claim():
            _ = 1 / 0
    assert "choose the trials" in cli("retry", study.name).err
    assert "did you mean 'error'?" in cli("retry", study.name, "--failure", "eror").err
    failed = [trial.number for trial in study.trials("failed")]
    assert cli("retry", study.name, "--failed", "--json").json == {"numbers": failed}
    assert "No trial" in cli("retry", study.name, "--failure", "lost").err


def test_workers_are_listed(cli: Cli, study: Study) -> None:
    with study.claim(worker="by-hand") as trial:
        assert trial is not None
        out = cli("workers").out
        trial.report(loss=1)
    assert "by-hand" in out
    assert f"{study.name}/{trial.number}" in out


def test_an_unreachable_master_is_reported_with_a_hint(cli: Cli) -> None:
    ran = cli("ls", "--url", "http://127.0.0.1:1")
    assert ran.code == 2
    assert "http://127.0.0.1:1: the connection was refused" in ran.err
    assert "hint: Start one with `tunefleet up`" in ran.err
    assert ran.out == ""


def test_an_invalid_url_is_reported(cli: Cli) -> None:
    ran = cli("ls", "--url", "localhost:8765")
    assert ran.code == 2
    assert "http://HOST:PORT" in ran.err


def test_an_invalid_file_is_reported_with_its_line(cli: Cli, file: Path) -> None:
    file.write_text(file.read_text().replace("budget", "bugdet"))
    for command in ("submit", "check"):
        ran = cli(command, file)
        assert ran.code == 2
        assert f"error: {file}:9: bugdet: unknown key 'bugdet'; did you mean 'budget'?" in ran.err


def test_check_prints_the_space_and_the_grid(cli: Cli, file: Path) -> None:
    ran = cli("check", file)
    assert ran.code == 0
    assert "log [0.0001, 0.1]" in ran.out
    assert "full grid: 50 points" in ran.out
    assert "opt == 'sgd'" in ran.out
    assert cli("check", file, "--json").json["ok"] is True


def test_check_compares_the_function_with_the_space(cli: Cli, file: Path) -> None:
    file.write_text(file.read_text().replace("{command: 'true'}", "{function: 'train:train', code: .}"))
    (file.parent / "train.py").write_text("def train(trial, lr, opt, decay=0): ...\n")
    ran = cli("check", file)
    assert ran.code == 0
    assert "function: train(trial, lr, opt, decay=0)" in ran.out
    (file.parent / "train.py").write_text("def train(trial, lr, opt, decay): ...\n")
    ran = cli("check", file, "--json")
    assert ran.code == 2
    assert ran.json["problems"][0].startswith(f"{file}:3: run.function")
    assert "must have a default for 'decay'" in ran.json["problems"][0]
    assert f"error: {file}:3: run.function" in cli("submit", file).err


def test_check_reports_unavailable_features(cli: Cli, file: Path) -> None:
    file.write_text(file.read_text() + "ensemble: {size: 3}\n")
    ran = cli("check", file, "--json")
    assert ran.code == 2
    assert ran.json["unavailable"] == [f"{file}:10: ensemble: ensembles are not available yet"]
    assert f"error: {file}:10: ensemble" in cli("submit", file).err


def test_a_wrong_option_is_reported_and_the_version_is_printed(cli: Cli) -> None:
    assert cli("ls", "--jsno").code == 2
    assert cli("--version").out.strip() == tunefleet.__version__
    assert "Exit codes:" in cli("--help").out


def test_folds_are_shown_with_their_mean_and_its_standard_error(cli: Cli, client: Client, file: Path) -> None:
    file.write_text(file.read_text() + "data: {folds: 2, race: false}\n")
    study = client.submit(file)
    for trial in study.claims():
        with trial:
            trial.report(loss=1.0 + 2.0 * (trial.fold or 0) + trial.number // 2)
    out = cli("folds", study.name).out
    assert [line.split()[:6] for line in out.splitlines() if "complete" in line] == [
        [str(i), "complete", f"{2 + i}", "±", "1", f"{1 + i}"] for i in range(3)
    ]
    assert [found["value"] for found in cli("folds", study.name, "--json").json] == [2.0, 3.0, 4.0]
    assert "6/6" in cli("ls").out
    assert "2 ± 1 (trials 0 to 1)" in cli("show", study.name).out
