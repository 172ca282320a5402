"""One word for one thing: identifiers that were replaced by the field's terms do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Renamed:
    """Identifiers that are gone.

    Attributes:
        old: the identifiers, as a regular expression of whole words.
        folder: where they are banned: a file, or a folder with all that is in it.
        new: the standard terms.
    """

    old: str
    folder: str
    new: str


MASTER, WORKER, SHARED = "master/tunefleet_master", "worker/tunefleet_worker", "shared/tunefleet"
SERVICES, SEARCH = f"{MASTER}/services", f"{MASTER}/search"
EVERYWHERE = ""

RENAMED = (
    Renamed("Lane|Lanes|lanes?", f"{MASTER}/storage", "GroupCommitWriter"),
    Renamed("Steps", f"{MASTER}/storage", "TransactionHooks"),
    Renamed("Bell|bells?|is_rung|ring|rung", f"{MASTER}/storage/subscriptions.py", "Subscription, notify"),
    Renamed("Bell|bells?|is_rung|ring|keyring|Keyring|wakeups|Wakeups", f"{MASTER}/api", "Subscription, TokenCache"),
    Renamed("Bell|bells?|is_rung|keyring|Keyring|wakeups|Wakeups", SERVICES, "Subscription, TokenCache"),
    Renamed("stand_in_line|Wakeups|wakeups", EVERYWHERE, "wait_in_queue, Subscriptions"),
    Renamed("Place|Line", f"{MASTER}/storage/subscriptions.py", "Waiter, WaitQueue"),
    Renamed("signals?", f"{MASTER}/storage/unit_of_work.py", "notify_after_commit"),
    Renamed("Doors?|Porter|porter|admit", f"{MASTER}/api", "AuthMiddleware, Authenticator.authenticate"),
    Renamed("Key", f"{SERVICES}/access", "CachedToken"),
    Renamed("Express|ExpressRoute|express|Stop", f"{MASTER}/api", "FastPath, FastPathRoute, FastRoute"),
    Renamed("Patience|patience", f"{MASTER}/api", "LongPoll"),
    Renamed("Patience|patience", f"{SHARED}/client", "RetryPolicy"),
    Renamed("Hand|hands?|staffing|Staffing|_demands", f"{SERVICES}/execution", "WorkerStatus, eligibility"),
    Renamed("Promises|AttemptPromise|TrialPromise", EVERYWHERE, "AcknowledgedWrites"),
    Renamed("Desk|InformedProcess|Proposer|informed|telling", SERVICES, "RequestHandler, HistoryProcess"),
    Renamed("endings", SERVICES, "completion"),
    Renamed("Courier|couriers?", EVERYWHERE, "ReportSender"),
    Renamed("Nursery|nursery|_bury|Workshop|workshop", f"{WORKER}/agent", "ChildLauncher, RunnerResources"),
    Renamed("Line", f"{WORKER}/agent", "SerialExecutor"),
    Renamed("Health|is_sick|is_probe|Workplace", f"{WORKER}/agent", "CircuitBreaker, WorkerFolder"),
    Renamed("Say|Tell|Beat|Beaten|SignalCame|Fate|fate|shop|_bell", f"{WORKER}/agent", "events, KillReason, resources"),
    Renamed("LastResort|rest_s|rests_until", f"{WORKER}/agent", "ExitWatchdog, cooldown_s, open_until"),
    Renamed("OrderLine|Orders|ring|hear|load_inherited", WORKER, "OrderSender, OrderReceiver, load_parent_checkpoint"),
    Renamed("Worth|worth", f"{MASTER}/diagnosis", "ExpectedGain"),
    Renamed("Witness|witness|witnesses|Contest", f"{MASTER}/diagnosis", "TrialPredictions, Disagreement"),
    Renamed("Contest", f"{SHARED}/protocol", "Disagreement"),
    Renamed("Known|Block", f"{WORKER}/watching", "SignatureSketch, SampleBlock"),
    Renamed("covering_point|Evidence|FrontEvidence", SEARCH, "initial_design, Observations"),
    Renamed(
        "WeighedGain|Acquisition|Climb|climb|Effort|effort|Moves|Cells",
        f"{SEARCH}/gaussian_process",
        "FeasibilityWeightedAcquisition, LogExpectedImprovement, AcquisitionOptimizer, SearchBudget, Neighbourhood, "
        "BoxDecomposition",
    ),
    Renamed("RungBooks?|books?", f"{MASTER}/pruning", "RungTable"),
    Renamed("RungBooks?|books?", SERVICES, "RungTable"),
    Renamed("branches", f"{SHARED}/study", "preflight_configurations"),
    Renamed("Parts|PartsOf|parts_of", f"{MASTER}/api", "Services"),
    Renamed("treating|steering|clinic", f"{SHARED}/cli", "apply_findings, study_control, diagnosis_summary"),
    Renamed("Patient|patients?|wards?|Chart", "benchmarks/fault_cases", "FaultCase, RunRecord"),
    Renamed("choosing|contestant", "benchmarks/search_quality", "search_quality, baselines"),
    Renamed(r"_?(MOST|LEAST|FEWEST|LARGEST|SMALLEST|LONGEST|SHORTEST)_[A-Z0-9_]+", EVERYWHERE, "MAX_, MIN_"),
)


def _identifiers(text: str) -> Iterator[str]:
    """The names in code, without comments and texts."""
    code = re.sub(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*', "", text)
    yield from re.findall(r"[A-Za-z_]\w*", code)


@pytest.mark.parametrize("renamed", RENAMED, ids=lambda renamed: f"{renamed.folder}: {renamed.new}")
def test_a_replaced_identifier_does_not_come_back(sources, renamed: Renamed) -> None:
    here = [it for it in sources if it.name.startswith(renamed.folder) and not it.name.endswith("test_words.py")]
    assert here, "the folder has moved"
    old = re.compile(renamed.old)
    found = {it.name: sorted({name for name in _identifiers(it.text) if old.fullmatch(name)}) for it in here}
    assert {name: names for name, names in found.items() if names} == {}
