"""Evaluating a model: one pass over a split, integer counts for every group, and the metric families on top."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ncbench.collapse import ClassMeans
from ncbench.contracts.errors import NcbenchError, PluginError, counted, described
from ncbench.contracts.groups import group_cells, group_counts
from ncbench.contracts.method import Method
from ncbench.contracts.metric import Evaluation, FeatureStream, Metric
from ncbench.data.store.open import Store
from ncbench.discovery.registry import registry
from ncbench.training.splits import LoadedSplit


@dataclass(frozen=True, eq=False)
class SplitResult:
    """What evaluating a split gave.

    Args:
        metrics: By name; only finite numbers.
        count: (K, B) int64, images a group; (K, 1) where the bias attribute is unknown.
        correct: The same of correctly classified images.
        predicted: (N,) int64 on the model's device, the largest logit's class.
        logits: (N, K) float32 on the model's device, where a metric family asked for them; None elsewhere.
    """

    metrics: dict[str, float]
    count: np.ndarray
    correct: np.ndarray
    predicted: Tensor
    logits: Tensor | None

    def groups(self, bias_known: bool) -> list[dict[str, int | None]]:
        """Return the cells as the record lists them."""
        return group_cells(self.count, self.correct, bias_known=bias_known)


class DivergedError(Exception):
    """Losses or logits are not finite any more."""


def load_metrics() -> dict[str, Metric]:
    """Import every registered metric family, in the order of their names.

    Returns:
        The families, by what an error calls them: their name and the plugin they come from.

    Raises:
        PluginError: One cannot be imported or declares what there is not, or two claim one name.
    """
    families = {}
    for name in registry().names("metrics"):
        found = registry().find("metrics", name)
        origin = f"the metric family {name!r} of {found.plugin.distribution}"
        family: Metric = found.load()()
        for attribute, declared, valid in (
            ("needs", family.needs, ("feature_stream", "features", "logits")),
            ("splits", family.splits, ("train", "val", "test")),
            ("when", {family.when}, ("always", "scheduled")),
        ):
            wrong = sorted(map(str, set(declared) - set(valid)))
            if wrong:
                raise PluginError(f"{origin} declares {attribute} {', '.join(wrong)}; valid: {', '.join(valid)}.")
        families[origin] = family
    return families


class Evaluator:
    """Evaluates a method on the splits of one store.

    Args:
        store: Where class and attribute names, alignment and hierarchy come from.
        metrics: The metric families, by what an error calls them.
        batch_size: Images a batch; no result depends on it.
        autocast: Data type of the features' computation, or None for float32. A split whose features are measured
            is computed in float32 all the same: collapse goes on where bfloat16 has no digits left.
    """

    def __init__(
        self, store: Store, metrics: Mapping[str, Metric], batch_size: int, autocast: torch.dtype | None
    ) -> None:
        self.store = store
        self.metrics = metrics
        self.batch_size = batch_size
        self.autocast = autocast
        train = store.splits["train"]
        num_bias = len(store.bias_names)
        self.train_count = (
            None if train.bias is None else group_counts(train.target, train.bias, len(store.class_names), num_bias)
        )

    def evaluate(self, method: Method, split: LoadedSplit, scheduled: bool) -> SplitResult:
        """Pass over `split` once and compute its metrics.

        Args:
            method: The model; left in evaluation mode.
            split: The images and labels.
            scheduled: Whether families with ``when="scheduled"`` are computed too.

        Raises:
            DivergedError: Logits are not finite, so that there is no largest one.
            NcbenchError: A family failed, computed what another one has, or changed what it was given.
        """
        return self.measure(self.look(method, split, scheduled), scheduled)

    @torch.no_grad()
    def look(self, method: Method, split: LoadedSplit, scheduled: bool, keep_logits: bool = False) -> Evaluation:
        """Pass over `split` once and return what the metric families need to see of it; arguments of `evaluate`.

        The logits are there too where they are to be kept.
        """
        needs = frozenset[str]().union(*(family.needs for _, family in self._families(split.name, scheduled)))
        needs |= {"logits"} if keep_logits else set()
        measured = any(family.needs & _FEATURES for _, family in self._families(split.name, scheduled=True))
        compute = functools.partial(self._features, method, split, None if measured else self.autocast)
        num_classes, num_bias = len(self.store.class_names), len(self.store.bias_names)
        number = len(split.target)
        prediction = torch.empty(number, dtype=torch.int64, device=split.target.device)
        finite = torch.zeros((), dtype=torch.int64, device=split.target.device)
        logits = features = sums = None
        method.eval()
        seen = 0
        for batch_features in compute(None):
            rows = slice(seen, seen + len(batch_features))
            seen = rows.stop
            batch_logits = method.classify(batch_features).float()
            finite += torch.isfinite(batch_logits).all(dim=1).sum()
            prediction[rows] = batch_logits.argmax(dim=1)
            # Written in place: kept and concatenated, they would be in memory twice, and so would all that they are
            # views of.
            if "logits" in needs:
                logits = batch_logits.new_empty(number, batch_logits.shape[1]) if logits is None else logits
                logits[rows] = batch_logits
            few = "feature_stream" in needs and number * batch_features[0].numel() <= _HELD
            if few or "features" in needs:
                features = batch_features.new_empty(number, batch_features.shape[1]) if features is None else features
                features[rows] = batch_features
            if "feature_stream" in needs:
                sums = sums or _Sums(split, num_classes, num_bias, batch_features)
                sums.add(rows, batch_features)

        if (lost := number - int(finite)) > 0:
            raise DivergedError(f"the logits of {counted(lost, f'{split.name} image')} are not finite")
        hit = prediction == split.target
        labels = split.target.cpu().numpy()
        bias = None if split.bias is None else split.bias.cpu().numpy()
        hits = hit.cpu().numpy()
        count = group_counts(labels, bias, num_classes, num_bias)
        correct = group_counts(labels[hits], None if bias is None else bias[hits], num_classes, num_bias)
        classifier = method.classifier_parameters() if needs & _FEATURES else None
        return Evaluation(
            split=split.name,
            num_classes=num_classes,
            num_bias=num_bias,
            target=split.target,
            bias=split.bias,
            predicted=prediction,
            count=count,
            correct=correct,
            train_count=self.train_count,
            aligned_bias=self.store.aligned_bias,
            attributes=self.store.attributes,
            hierarchy=self.store.hierarchy,
            logits=logits,
            features=features if "features" in needs else None,
            feature_stream=None if sums is None else sums.stream(compute, features),
            weight=None if classifier is None else classifier[0].float(),
            classifier_bias=None if classifier is None or classifier[1] is None else classifier[1].float(),
            inferred=split.group,
        )

    @torch.no_grad()
    def _features(
        self, method: Method, split: LoadedSplit, autocast: torch.dtype | None, index: Tensor | None
    ) -> Iterator[Tensor]:
        """Compute the features (n, d) float32 of a split's images in batches, those at `index` or all."""
        device = split.target.device
        index = torch.arange(len(split.target)) if index is None else index.cpu()
        for images, _ in split.loader.batches(index, self.batch_size, None):
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                features = method.features(images)
            yield features.float()  # in bfloat16, logits of many classes tie

    def measure(self, evaluation: Evaluation, scheduled: bool) -> SplitResult:
        """Compute the metrics of what `look` returned; raises what :func:`compute_metrics` does."""
        numbers = compute_metrics(self._families(evaluation.split, scheduled), evaluation)
        return SplitResult(numbers, evaluation.count, evaluation.correct, evaluation.predicted, evaluation.logits)

    def _families(self, split: str, scheduled: bool) -> list[tuple[str, Metric]]:
        return [
            (origin, family)
            for origin, family in self.metrics.items()
            if split in family.splits and (scheduled or family.when == "always")
        ]


@torch.no_grad()
def compute_metrics(families: Iterable[tuple[str, Metric]], evaluation: Evaluation) -> dict[str, float]:
    """Return the metrics of an evaluation that are finite.

    Args:
        families: What an error calls each, and the family.
        evaluation: With all that they need.

    Raises:
        NcbenchError: A family failed, computed what another one has, or changed what it was given, which is
            everybody's; the message names it.
    """
    numbers: dict[str, float] = {}
    given = {name: value for name, value in vars(evaluation).items() if isinstance(value, Tensor)}
    if evaluation.feature_stream is not None and evaluation.feature_stream.held is not None:
        given["features"] = evaluation.feature_stream.held
    for origin, family in families:
        versions = {name: tensor._version for name, tensor in given.items()}
        try:
            found = _finite(family.compute(evaluation).items())
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise NcbenchError(f"{origin} failed with {described(error)}. {_WITHOUT_IT}") from error
        if twice := sorted(numbers.keys() & found.keys()):
            raise NcbenchError(f"{origin} computes {twice[0]!r}, which another family has computed. {_WITHOUT_IT}")
        numbers.update(found)
        changed = [name for name, tensor in given.items() if tensor._version != versions[name]]
        if changed:
            raise NcbenchError(f"{origin} changes the {changed[0]} it is given. {_WITHOUT_IT}")
    return numbers


class _Sums:
    """What one pass over a split leaves of its features: the sums of each class and of each value of the attribute."""

    def __init__(self, split: LoadedSplit, num_classes: int, num_bias: int, features: Tensor) -> None:
        dim, device = features.shape[1], features.device
        self.by_target = ClassMeans(num_classes, dim, device)
        self.by_bias = None if split.bias is None else ClassMeans(num_bias, dim, device)
        self.split = split
        self.finite = True

    def add(self, rows: slice, features: Tensor) -> None:
        self.finite = self.finite and bool(torch.isfinite(features).all())
        if not self.finite:
            return
        self.by_target.update(features, self.split.target[rows])
        if self.by_bias is not None and self.split.bias is not None:
            self.by_bias.update(features, self.split.bias[rows])

    def stream(self, compute: Callable[[Tensor | None], Iterable[Tensor]], held: Tensor | None) -> FeatureStream:
        return FeatureStream(compute, self.by_target, self.by_bias, self.finite, held)


_FEATURES = frozenset({"features", "feature_stream"})
_HELD = 1 << 26  # numbers: features of up to 256 MiB are kept, which is faster than to compute them a second time
_WITHOUT_IT = "Put it right, uninstall its package, or leave it out with NCBENCH_PLUGINS."


def _finite(numbers: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers if math.isfinite(value)}
