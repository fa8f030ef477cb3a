"""The method of a finished run, kept in its folder: made anew, filled with what was learned, and built on."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, DataError, described
from ncbench.contracts.method import Backbone, Method
from ncbench.contracts.specs import Spec
from ncbench.contracts.task import Groups
from ncbench.data.files import from_home, write_atomically
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store, StoredSplit
from ncbench.data.store.prepare import prepare
from ncbench.discovery.files import changed_files, plugins_from
from ncbench.discovery.registry import Plugin, registry
from ncbench.features.inferred import read_groups
from ncbench.features.saved import SavedFeatures
from ncbench.records.archive import RunResult, load_result
from ncbench.records.folder import MODEL_FILE, make_again
from ncbench.records.record import BackbonePart, DatasetPart, MethodPart, Record
from ncbench.training.configuration import Configuration, is_frozen, resolve
from ncbench.training.devices.ranks import ALONE, Ranks
from ncbench.training.devices.split import splitting
from ncbench.training.loop import make_method
from ncbench.training.splits import memory_format, task_of

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


def configuration_of(record: Record, dataset: str | None = None) -> Configuration:
    """Return the configuration that a record is of, every parameter and setting as it stands there.

    Args:
        record: The record.
        dataset: Spec of its dataset, where the record has a digest in place of a path of yours.

    Raises:
        ConfigurationError: A plugin or a setting of the run is not known here.
    """
    return resolve(
        _given(record.method),
        dataset or _given(record.dataset),
        _given(record.backbone),
        record.seed,
        record.settings,
        record.dataset.synthetic,
        allow_mismatch=bool(record.dataset.mismatch),
        groups=record.inference,
        kind="groups" if record.method.kind == "groups" else "methods",
        search=record.search,
    )


def prepare_data(
    configuration: Configuration,
    data_root: str | Path | None,
    warn: Callable[[str], None],
    inspect: Callable[[Dataset], None] | None = None,
) -> Store:
    """Return the data of a configuration; arguments and errors of :func:`ncbench.data.store.prepare.prepare`."""
    return prepare(
        configuration.dataset.registered.card,
        configuration.dataset.params,
        data_root=None if data_root is None else Path(data_root),
        synthetic=configuration.synthetic,
        allow_mismatch=configuration.allow_mismatch,
        report=warn,
        inspect=inspect,
    )


def store_of(
    configuration: Configuration, record: Record, data_root: str | Path | None, warn: Callable[[str], None]
) -> Store:
    """Return the data that a record's run was trained on.

    Raises:
        DataError: They are not there, or others now.
    """
    store = prepare_data(configuration, data_root, warn)
    if store.fingerprint != record.dataset.fingerprint:
        raise DataError(
            f"The images or labels of {record.dataset.spec} are others here ({store.fingerprint[:12]}) than those of "
            f"the record ({record.dataset.fingerprint[:12]}): here they are of version "
            f"{configuration.manifest.version} of the dataset, and {record.run_id} was made by ncbench "
            f"{record.environment.get('ncbench')}."
        )
    return store


def plugins_of(configuration: Configuration) -> list[Plugin]:
    """Return the plugins on which the numbers of a run depend; those of a base are in that run's record."""
    parts = (configuration.method, configuration.dataset, configuration.backbone)
    registered = [*(part.registered for part in parts), *registry().metric_families()]
    return [each.plugin for each in registered]


def refuse_changed_files(configuration: Configuration, result: RunResult) -> None:
    """Refuse a run that was made with other plugin files than there are now: it would pass for one of these.

    Raises:
        DataError: It was.
    """
    changed = changed_files(plugins_of(configuration), result.record.plugin_files)
    if changed:
        raise DataError(
            f"The run in {result.folder} was made with another {', '.join(changed)} than there is now, or without. Put "
            "that back, or delete the folder to make the run anew (ncbench run --force)."
        )


def _of_features(store: Store, dim: int) -> Store:
    """Return the store for a method whose backbone is frozen, which is made for the size of the features alone."""
    splits = {
        name: replace(split, inputs=np.broadcast_to(np.float32(0), (len(split), dim)))
        for name, split in store.splits.items()
    }
    return replace(store, splits=splits, features="")


def make_configured(
    configuration: Configuration,
    store: Store,
    device: torch.device,
    groups: Groups | None = None,
    ranks: Ranks = ALONE,
) -> Method:
    """Return a run's method, newly made; for inferred groups, if it trains on any; its backbones shared by `ranks`."""
    task, chosen = task_of(store, configuration.seed, configuration.supervision, groups), configuration.method
    make_backbone = configuration.make_backbone(task.input_shape, of_features=store.features is not None)
    make_backbone = splitting(make_backbone, ranks)
    return make_method(chosen.factory, chosen.name, chosen.params, task, make_backbone).to(device)


def save_model(method: Method, folder: Path) -> None:
    """Write what a method has learned into its run's folder."""
    buffer = io.BytesIO()
    torch.save(method.state_dict(), buffer)
    write_atomically(folder / MODEL_FILE, buffer.getvalue())


def load_trained(
    configuration: Configuration,
    store: Store,
    folder: Path,
    device: torch.device,
    groups: Groups | None = None,
    ranks: Ranks = ALONE,
) -> Method:
    """Return the method of a finished run as it was left, in evaluation mode.

    Args:
        configuration: Of the run.
        store: The data it was trained on.
        folder: The run's.
        device: Where the method is wanted.
        groups: The inferred groups that it was trained on, if there are any.
        ranks: The processes that share the work of its backbones.

    Raises:
        DataError: The model is not there, or not what the code of today can read.
    """
    path = folder / MODEL_FILE
    method = make_configured(configuration, store, device, groups, ranks)
    try:
        method.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read ({described(error):.200}). {make_again(configuration.run_id)}"
        ) from error
    return method.eval()


def describe_base(base: RunResult, store: Store) -> dict[str, Any]:
    """Return what the record says of the run that this one builds on.

    Raises:
        DataError: It did not complete, was of other data, or its model is not there any more.
    """
    record, path = base.record, base.folder / MODEL_FILE
    if base.status != "completed":
        raise DataError(
            f"This run builds on {record.run_id}, which {base.status}. --set base.recipe.KEY=VALUE changes its recipe."
        )
    if record.dataset.fingerprint != store.fingerprint:
        raise DataError(
            f"This run builds on {record.run_id}, which was trained on other data than there are now. "
            f"{make_again(record.run_id)}"
        )
    try:
        model = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"This run builds on {path}, which is not there. {make_again(record.run_id)}") from error
    return record.as_base(model).model_dump()


def groups_of(base: RunResult, store: Store) -> tuple[dict[str, Any], Groups]:
    """Return what the record says of the groups that another run inferred, and the groups.

    Raises:
        DataError: They are gone, or others than that run's record says.
    """
    record, inferred = base.record, base.record.inferred
    if inferred is None:
        raise DataError(f"The record of {record.run_id} says nothing of the groups. {make_again(record.run_id)}")
    images = {name: len(split) for name, split in store.splits.items()}
    groups = read_groups(base.folder, inferred.digest, images)
    return {"spec": record.method.spec, "base": record.run_id, **inferred.model_dump()}, groups


def _given(part: MethodPart | DatasetPart | BackbonePart) -> str:
    """Return the spec of what a record names with every parameter: what a spec leaves out may have another default now.

    Its values are whatever a stranger wrote; :func:`ncbench.run` says which are none.
    """
    return str(Spec(part.name, part.parameters))  # type: ignore[arg-type]
