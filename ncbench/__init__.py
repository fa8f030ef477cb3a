"""ncbench: benchmarks of debiasing methods and of the neural-collapse geometry they learn.

The names below are all that a plugin or a script needs. They are imported on first use, so that ``import ncbench``
itself stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from ncbench import collapse as collapse
    from ncbench import conformance as conformance
    from ncbench import geometry as geometry
    from ncbench.contracts.cards import BackboneCard as BackboneCard
    from ncbench.contracts.cards import DatasetCard as DatasetCard
    from ncbench.contracts.cards import GroupsCard as GroupsCard
    from ncbench.contracts.cards import LauncherCard as LauncherCard
    from ncbench.contracts.cards import Measure as Measure
    from ncbench.contracts.cards import MethodCard as MethodCard
    from ncbench.contracts.cards import MetricCard as MetricCard
    from ncbench.contracts.cards import Panel as Panel
    from ncbench.contracts.cards import Published as Published
    from ncbench.contracts.cards import Supervision as Supervision
    from ncbench.contracts.cards import TrackerCard as TrackerCard
    from ncbench.contracts.dataset import Dataset as Dataset
    from ncbench.contracts.dataset import Split as Split
    from ncbench.contracts.errors import ConfigurationError as ConfigurationError
    from ncbench.contracts.errors import DataError as DataError
    from ncbench.contracts.errors import NcbenchError as NcbenchError
    from ncbench.contracts.errors import PluginError as PluginError
    from ncbench.contracts.errors import SupervisionError as SupervisionError
    from ncbench.contracts.errors import name_offenders as name_offenders
    from ncbench.contracts.errors import unknown_name as unknown_name
    from ncbench.contracts.hookspecs import hookimpl as hookimpl
    from ncbench.contracts.launcher import Ended as Ended
    from ncbench.contracts.launcher import Job as Job
    from ncbench.contracts.launcher import JobQueue as JobQueue
    from ncbench.contracts.launcher import Launcher as Launcher
    from ncbench.contracts.launcher import Started as Started
    from ncbench.contracts.launcher import Waiting as Waiting
    from ncbench.contracts.method import Backbone as Backbone
    from ncbench.contracts.method import GroupInference as GroupInference
    from ncbench.contracts.method import Method as Method
    from ncbench.contracts.method import Stage as Stage
    from ncbench.contracts.method import WeightsFile as WeightsFile
    from ncbench.contracts.method import require_bias_labels as require_bias_labels
    from ncbench.contracts.metric import Evaluation as Evaluation
    from ncbench.contracts.metric import FeatureStream as FeatureStream
    from ncbench.contracts.metric import Metric as Metric
    from ncbench.contracts.parameters import LocalPath as LocalPath
    from ncbench.contracts.parameters import LogUniform as LogUniform
    from ncbench.contracts.parameters import Parameters as Parameters
    from ncbench.contracts.parameters import Uniform as Uniform
    from ncbench.contracts.task import Batch as Batch
    from ncbench.contracts.task import Groups as Groups
    from ncbench.contracts.task import Progress as Progress
    from ncbench.contracts.task import SplitView as SplitView
    from ncbench.contracts.task import Task as Task
    from ncbench.contracts.tracker import Tracker as Tracker
    from ncbench.data.loading.memory import free_memory as free_memory
    from ncbench.data.sources.roots import cache_folder as cache_folder
    from ncbench.data.tables import codes_of as codes_of
    from ncbench.data.tables import labels_of as labels_of
    from ncbench.data.tables import names_of as names_of
    from ncbench.data.tables import read_table as read_table
    from ncbench.data.tables import vectors_of as vectors_of
    from ncbench.records.archive import load_result as load_result
    from ncbench.records.results import load_results as load_results
    from ncbench.training.evaluation.predictions import evaluate as evaluate
    from ncbench.training.finished.model import load_model as load_model
    from ncbench.training.run import run as run

_HOME = {
    "Backbone": "contracts.method",
    "BackboneCard": "contracts.cards",
    "Batch": "contracts.task",
    "ConfigurationError": "contracts.errors",
    "DataError": "contracts.errors",
    "Dataset": "contracts.dataset",
    "DatasetCard": "contracts.cards",
    "Ended": "contracts.launcher",
    "Evaluation": "contracts.metric",
    "FeatureStream": "contracts.metric",
    "GroupInference": "contracts.method",
    "Groups": "contracts.task",
    "GroupsCard": "contracts.cards",
    "Job": "contracts.launcher",
    "JobQueue": "contracts.launcher",
    "Launcher": "contracts.launcher",
    "LauncherCard": "contracts.cards",
    "LogUniform": "contracts.parameters",
    "LocalPath": "contracts.parameters",
    "Measure": "contracts.cards",
    "Method": "contracts.method",
    "MethodCard": "contracts.cards",
    "Metric": "contracts.metric",
    "MetricCard": "contracts.cards",
    "NcbenchError": "contracts.errors",
    "Panel": "contracts.cards",
    "Parameters": "contracts.parameters",
    "PluginError": "contracts.errors",
    "Progress": "contracts.task",
    "Published": "contracts.cards",
    "Split": "contracts.dataset",
    "SplitView": "contracts.task",
    "Stage": "contracts.method",
    "Started": "contracts.launcher",
    "Supervision": "contracts.cards",
    "SupervisionError": "contracts.errors",
    "Task": "contracts.task",
    "Tracker": "contracts.tracker",
    "TrackerCard": "contracts.cards",
    "Uniform": "contracts.parameters",
    "Waiting": "contracts.launcher",
    "WeightsFile": "contracts.method",
    "evaluate": "training.evaluation.predictions",
    "find_device": "training.devices.ranks",
    "free_memory": "data.loading.memory",
    "cache_folder": "data.sources.roots",
    "hookimpl": "contracts.hookspecs",
    "load_model": "training.finished.model",
    "load_result": "records.archive",
    "load_results": "records.results",
    "name_offenders": "contracts.errors",
    "require_bias_labels": "contracts.method",
    "read_table": "data.tables",
    "labels_of": "data.tables",
    "names_of": "data.tables",
    "codes_of": "data.tables",
    "vectors_of": "data.tables",
    "run": "training.run",
    "unknown_name": "contracts.errors",
}
_LIBRARIES = ("collapse", "conformance", "geometry")

__all__ = ["__version__", *_LIBRARIES, *_HOME]


def __getattr__(name: str) -> Any:
    if name in _LIBRARIES:
        return importlib.import_module(f"ncbench.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"ncbench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ncbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
