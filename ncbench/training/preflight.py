"""What can be refused before a dataset is decoded: a method, a backbone or a criterion that cannot work on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.task import Task
from ncbench.training.configuration import Configuration
from ncbench.training.selection import find_criterion

_ONLY_DATA_SAY = frozenset({"input_shape", "image_shape", "num_train", "class_counts", "group_counts"})


def refuse_unfit(configuration: Configuration, dataset: Dataset) -> None:
    """Refuse what the dataset's declarations rule out already, in the words in which the run itself would.

    The method is made up to where it asks for a backbone, or for what only images and labels say; then a backbone is
    made. What passes here may still be refused once the data are read.

    Args:
        configuration: Of the run.
        dataset: Its sources are there, but not read yet.

    Raises:
        ConfigurationError: The method, the backbone or the criterion cannot work on the dataset.
        DataError: Something else that is needed is missing, such as a file of pretrained weights.
    """
    recipe, spec = configuration.recipe, configuration.dataset.spec
    if find_criterion(recipe.selection).needs_bias and not dataset.bias_names:
        raise ConfigurationError(
            f"recipe.selection={recipe.selection} needs a validation split with bias labels, which {spec} does not "
            "have. recipe.selection=last needs none."
        )
    with _refusals_alone():
        configuration.method.factory(_declared_task(configuration, dataset), configuration.method.params, _ask_the_data)
    if recipe.input_scaling == "standard" and dataset.image_size is not None:  # with a mean a channel in the manifest
        height, width = dataset.image_size
        with _refusals_alone():
            configuration.make_backbone((len(configuration.manifest.channel_mean), height, width))()


class _UndecidedError(Exception):
    """What decides is not known before the data are read."""


class _DeclaredTask(Task):
    """A task of which no image and no label has been read."""

    def __getattribute__(self, name: str) -> Any:
        if name in _ONLY_DATA_SAY:
            _ask_the_data()
        return super().__getattribute__(name)


def _ask_the_data() -> NoReturn:
    raise _UndecidedError


def _declared_task(configuration: Configuration, dataset: Dataset) -> Task:
    supervision = configuration.supervision
    return _DeclaredTask(
        num_classes=len(dataset.class_names),
        num_bias=len(dataset.bias_names),
        class_names=tuple(dataset.class_names),
        bias_names=tuple(dataset.bias_names),
        input_shape=(),
        num_train=0,
        class_counts=torch.empty(0),
        seed=configuration.seed,
        bias_known_on_train=bool(dataset.bias_names),
        supervision=supervision,
        _hierarchy=dataset.hierarchy if supervision.hierarchy else None,
    )


@contextlib.contextmanager
def _refusals_alone() -> Iterator[None]:
    """Let refusals through and nothing else: a fault in a plugin is explained by the record of the run that hits it."""
    try:
        yield
    except (ConfigurationError, DataError):
        raise
    except Exception:
        return
