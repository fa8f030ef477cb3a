"""The model of a finished run, ready to predict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.method import Backbone, Method
from ncbench.data.files import from_home
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store, StoredSplit
from ncbench.discovery.files import plugins_from
from ncbench.features.saved import SavedFeatures
from ncbench.records.archive import RunResult, load_result
from ncbench.training.configuration import is_frozen
from ncbench.training.finished.base import groups_of
from ncbench.training.finished.method import load_trained
from ncbench.training.finished.origin import configuration_of, refuse_changed_files, store_of
from ncbench.training.splits import memory_format

_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A finished run's method, ready to predict on images as the dataset has them.

    Args:
        result: The run.
        method: In evaluation mode.
        class_names: K names.
        backbone: Whose features are the method's inputs, where it is frozen; None elsewhere.
        scaling: What images are scaled with: the recipe's ``input_scaling``, C means and C standard deviations.
        input_shape: (H, W, C) of an image, or (D,) of a vector.
    """

    result: RunResult
    method: Method
    class_names: Sequence[str]
    backbone: Backbone | None
    scaling: tuple[str, Sequence[float], Sequence[float]]
    input_shape: tuple[int, ...]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the classes of images: (N, H, W, C) uint8, or (N, D) float32 vectors -> (N,) int64.

        Raises:
            ConfigurationError: They are not of the shape and type of the dataset's.
        """
        return self._predicted(images).argmax(dim=1).numpy()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class: -> (N, K) float32; arguments and errors of :meth:`predict`."""
        return self._predicted(images).softmax(dim=1).numpy()

    @torch.no_grad()
    def saved_features(self, split: StoredSplit) -> SavedFeatures:
        """Return the features of a split's images, its labels and the classifier, for measures of collapse."""
        features = [self._features(inputs).cpu() for inputs, _ in self.batches(np.asarray(split.inputs))]
        weight, bias = self.method.classifier_parameters() or (None, None)
        return SavedFeatures(
            torch.cat(features),
            torch.from_numpy(np.array(split.target, np.int64)),
            None if weight is None else weight.detach().float().cpu(),
            None if bias is None else bias.detach().float().cpu(),
        )

    @torch.no_grad()
    def _predicted(self, images: np.ndarray) -> Tensor:
        logits = torch.empty(len(images), len(self.class_names))
        for inputs, index in self.batches(images):
            logits[index.cpu()] = self.logits(inputs).cpu()
        return logits

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits of scaled images, or of vectors: (N, ...) -> (N, K) float32."""
        return self.method.classify(self._features(inputs)).float()

    def _features(self, inputs: Tensor) -> Tensor:
        given = inputs if self.backbone is None else self.backbone(inputs).float()
        return self.method.features(given).float()

    def batches(self, images: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images scaled, on the model's device, in batches, and their positions; errors of :meth:`predict`."""
        dtype = np.uint8 if len(self.input_shape) == 3 else np.float32
        if images.shape[1:] != self.input_shape or images.dtype != dtype:
            raise ConfigurationError(
                f"This model takes arrays (N, {', '.join(map(str, self.input_shape))}) of {np.dtype(dtype)}, not "
                f"{images.shape} of {images.dtype}."
            )
        number, device = len(images), next(self.method.parameters()).device
        unknown = np.zeros(number, np.int64)
        split = StoredSplit(images, unknown, None, unknown)
        last = memory_format(self.method if self.backbone is None else self.backbone) is torch.channels_last
        scaling, mean, std = self.scaling
        loader = Loader(split, device, scaling, "none", mean, std, channels_last=last, resident=False)
        yield from loader.batches(torch.arange(number), _BATCH)


def load_model(
    run: str | Path | RunResult,
    *,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    plugins: Iterable[object] = (),
    warn: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> TrainedModel:
    """Return the model of a finished run.

    The run's dataset has to be there, since methods are made for the groups of its training images.

    Args:
        run: The run's folder, its record, or what :func:`ncbench.run` returned.
        dataset: Spec of its dataset, where the record's has a digest in place of a path of yours.
        data_root: As for :func:`ncbench.run`.
        device: ``"cpu"``, ``"cuda"``, ...
        plugins: As for :func:`ncbench.run`.
        warn: Told, in one line, what takes long.

    Raises:
        ConfigurationError: A plugin or a setting of the run is not known here.
        DataError: The run is not completed, its model or its dataset is not there, or the data or a plugin file are
            others now.
    """
    with plugins_from(plugins):
        return _load_model(run, dataset, data_root, device, warn)


def _load_model(
    run: str | Path | RunResult,
    dataset: str | None,
    data_root: str | Path | None,
    device: str,
    warn: Callable[[str], None],
) -> TrainedModel:
    result = run if isinstance(run, RunResult) else load_result(from_home(run))
    record = result.record
    if record.status != "completed":
        raise DataError(
            f"The run in {result.folder} is {record.status}, so it left no model. Name a completed one, or run it anew."
        )
    configuration = configuration_of(record, dataset)
    refuse_changed_files(configuration, result)
    store = store_of(configuration, record, data_root, warn)
    where, input_shape = torch.device(device), store.splits["train"].inputs.shape[1:]
    frozen: Backbone | None = None
    if is_frozen(configuration.backbone):
        frozen = configuration.make_backbone(store.splits["train"].input_shape)().to(where).eval()
        store = _of_features(store, frozen.feature_dim)
    groups = None
    if configuration.inference is not None:
        _, groups = groups_of(load_result(result.folder.parent / configuration.inference.run_id), store)
    trained = load_trained(configuration, store, result.folder, where, groups)
    manifest = configuration.manifest
    scaling = (configuration.recipe.input_scaling, manifest.channel_mean, manifest.channel_std)
    return TrainedModel(result, trained, store.class_names, frozen, scaling, input_shape)


def _of_features(store: Store, dim: int) -> Store:
    """Return the store for a method whose backbone is frozen, which is made for the size of the features alone."""
    splits = {
        name: replace(split, inputs=np.broadcast_to(np.float32(0), (len(split), dim)))
        for name, split in store.splits.items()
    }
    return replace(store, splits=splits, features="")
