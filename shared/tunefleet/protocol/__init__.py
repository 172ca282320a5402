"""The messages between the master, the workers and users: frozen, closed, JSON.

Times are those of the master's clock (ISO 8601, UTC). Durations are in seconds, in fields that end in `_s`. Numbers
that JSON lacks travel as the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

from tunefleet.protocol.artifacts import ArtifactRef as ArtifactRef
from tunefleet.protocol.claims import ClaimRequest as ClaimRequest
from tunefleet.protocol.claims import ClaimResponse as ClaimResponse
from tunefleet.protocol.claims import Lease as Lease
from tunefleet.protocol.completion import CompleteRequest as CompleteRequest
from tunefleet.protocol.completion import EndResponse as EndResponse
from tunefleet.protocol.completion import FailRequest as FailRequest
from tunefleet.protocol.completion import ReleaseRequest as ReleaseRequest
from tunefleet.protocol.events import Event as Event
from tunefleet.protocol.fields import API as API
from tunefleet.protocol.fields import MAX_BATCH as MAX_BATCH
from tunefleet.protocol.fields import MAX_STEP as MAX_STEP
from tunefleet.protocol.fields import MAX_WAIT_S as MAX_WAIT_S
from tunefleet.protocol.fields import AttemptNumber as AttemptNumber
from tunefleet.protocol.fields import Metrics as Metrics
from tunefleet.protocol.fields import Step as Step
from tunefleet.protocol.fields import Text as Text
from tunefleet.protocol.findings import StudyFindings as StudyFindings
from tunefleet.protocol.findings import TrialFindings as TrialFindings
from tunefleet.protocol.heartbeats import HeartbeatRequest as HeartbeatRequest
from tunefleet.protocol.heartbeats import HeartbeatResponse as HeartbeatResponse
from tunefleet.protocol.heartbeats import HeldLease as HeldLease
from tunefleet.protocol.heartbeats import StopOrder as StopOrder
from tunefleet.protocol.pages import Page as Page
from tunefleet.protocol.preflight import PreflightOrder as PreflightOrder
from tunefleet.protocol.preflight import PreflightReport as PreflightReport
from tunefleet.protocol.problems import ProblemDetail as ProblemDetail
from tunefleet.protocol.problems import ProblemDocument as ProblemDocument
from tunefleet.protocol.reports import Directive as Directive
from tunefleet.protocol.reports import Report as Report
from tunefleet.protocol.reports import ReportBatch as ReportBatch
from tunefleet.protocol.status import StatusView as StatusView
from tunefleet.protocol.studies import SpaceEdit as SpaceEdit
from tunefleet.protocol.studies import StudyDetail as StudyDetail
from tunefleet.protocol.studies import StudyPatch as StudyPatch
from tunefleet.protocol.studies import StudyView as StudyView
from tunefleet.protocol.trials import AttemptView as AttemptView
from tunefleet.protocol.trials import ConfigurationView as ConfigurationView
from tunefleet.protocol.trials import EnqueueRequest as EnqueueRequest
from tunefleet.protocol.trials import FoldView as FoldView
from tunefleet.protocol.trials import Point as Point
from tunefleet.protocol.trials import RetryRequest as RetryRequest
from tunefleet.protocol.trials import RetryResponse as RetryResponse
from tunefleet.protocol.trials import SegmentView as SegmentView
from tunefleet.protocol.trials import TrialDetail as TrialDetail
from tunefleet.protocol.trials import TrialView as TrialView
from tunefleet.protocol.workers import WorkerFacts as WorkerFacts
from tunefleet.protocol.workers import WorkerView as WorkerView
from tunefleet.study.states import Failure as Failure
from tunefleet.study.states import PreflightState as PreflightState
from tunefleet.study.states import StopReason as StopReason
from tunefleet.study.states import StudyState as StudyState
from tunefleet.study.states import TrialState as TrialState
