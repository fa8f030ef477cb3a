"""Diverse prototypical ensembles: prototype heads on an erm's features, each unlike those before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import LogUniform, Parameters, Published, SplitView, Supervision
from ncbench_methods.balancing.cells import By, cell_of, supervision_by
from ncbench_methods.last_layer.fixed_features import (
    LastLayer,
    balanced_subset,
    fits_on_val,
    group_accuracies,
    refuse_absent_groups,
)

_NORM_WEIGHT = 10.0  # of the mean squared length of a head's prototypes
_DECAY = 0.05  # of the weight of the diversity, for every head after the second
_SOURCE = "To et al. (ICML 2025), the published code's settings with attributes of validation images"


class DPEParameters(Parameters):
    """Parameters of :class:`DPE`."""

    by: By = Field("group", description="what is balanced in a head's images: groups (target, bias), or classes")
    heads: int = Field(15, ge=1, description="how many heads are trained, one after the other")
    entropic_scale: float = Field(30.0, gt=0, description="factor of the distances in training alone")
    diversity: float = Field(5e5, ge=0, description="c, weight of the similarity to the heads before")
    lr: float = Field(1e-3, gt=0, description="learning rate of a head")
    epochs: int = Field(20, ge=1, description="passes over a head's images")
    batch_size: int = Field(256, ge=1, description="images a step")


class DPE(LastLayer):
    """An ensemble of prototype heads on the features of an erm (To et al., ICML 2025, section 4).

    Head r has a prototype p_k for each class and a scale s, drawn from N(0, 0.01^2) and 1, and the distances

        D_k(h) = |s| |h / |h| - p_k / |p_k||.

    It is trained by SGD with momentum 0.9 on a subset of the validation images, drawn anew for every head, which has as
    many images of each group (or class) as the smallest has. Its loss is the cross-entropy of -E D with the entropic
    scale E, plus 10 mean_k |p_k|^2, plus

        c_r |mean_k sum_{q < r} <p_k^r, p_k^q>| / ((d - 1) r),    c_r = c / (1 + 0.05 (r - 2)) from the third head on,

    as in the published code: the modulus is outside of both sums, so that similarities of opposite sign cancel, and
    prototypes are not normalised there, which is why c is so large. Of a head the epoch with the best worst group (or
    class) of *all* validation images is kept, of equal ones the last, so they are images that it was fitted on.

    Predictions are the mean over heads of softmax(-D), without E; the logits are its logarithm. They are not linear in
    the features. The published code leaves out a last batch that is not full; here all images count.

    Supervision: the bias attribute of validation images, or their targets alone with `by=class`.
    """

    Parameters = DPEParameters
    alternative = "Run dpe:by=class, which needs validation images alone."
    prototypes: Tensor
    scales: Tensor
    search_space: ClassVar = {
        "method.entropic_scale": (10.0, 20.0, 30.0, 40.0),
        "method.diversity": LogUniform(1e4, 5e5),
        "method.lr": (5e-4, 1e-3),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source=f"{_SOURCE}, waterbirds",
            parameters={"entropic_scale": 30.0, "diversity": 5e5, "lr": 1e-3},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source=f"{_SOURCE}, celeba",
            parameters={"entropic_scale": 30.0, "diversity": 5e5, "lr": 5e-4},
            backbone="resnet50:weights=imagenet",
        ),
    }

    @classmethod
    def supervision(cls, params: DPEParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing where classes are balanced."""
        return supervision_by(params.by, declared)

    @classmethod
    def without_val(cls, params: DPEParameters) -> str:
        """Return that there is nothing to fit on."""
        return fits_on_val("dpe")

    def build(self) -> None:
        """Create the network and room for the heads.

        Raises:
            ConfigurationError: There are no validation images of a group that is balanced.
        """
        self.backbone = self.make_backbone()
        if self.params.by == "group":
            refuse_absent_groups(self.task, "dpe", self.alternative)
        shape = self.params.heads, self.task.num_classes, self.backbone.feature_dim
        self.register_buffer("prototypes", torch.zeros(shape))  # (R, K, d)
        self.register_buffer("scales", torch.ones(self.params.heads))  # (R,)

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Train the heads, one after the other."""
        assert val is not None  # or it would have been refused
        generator = self.task.generator("dpe")
        features = F.normalize(self.features_of(val), dim=1)
        target, cell = val.target, cell_of(val, self.task, self.params.by)
        for head in range(self.params.heads):
            drawn = balanced_subset(cell.cpu(), generator).to(target.device)
            weight = self.params.diversity / (1 + _DECAY * max(head - 1, 0))
            best = -1.0
            for prototypes, scale in self._epochs(features[drawn], target[drawn], head, weight, generator):
                worst, _ = group_accuracies(-distances(features, prototypes, scale), target, cell)
                if worst >= best:
                    best = worst
                    self.prototypes[head], self.scales[head] = prototypes, scale
        self.report["images_a_head"] = float(len(drawn))

    def _epochs(
        self, features: Tensor, target: Tensor, head: int, diversity: float, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Train a head on unit features (n, d) with targets (n,), and yield it after each epoch."""
        before = self.prototypes[:head].to(features).sum(dim=0)  # (K, d)
        drawn = torch.randn(before.shape, generator=generator, dtype=torch.float64)
        prototypes = (0.01 * drawn).to(features).requires_grad_()
        scale = torch.ones((), dtype=features.dtype, device=features.device, requires_grad=True)
        optimizer = torch.optim.SGD([prototypes, scale], lr=self.params.lr, momentum=0.9)
        for _ in range(self.params.epochs):
            order = torch.randperm(len(target), generator=generator).to(target.device)
            for index in order.split(self.params.batch_size):
                logits = -self.params.entropic_scale * distances(features[index], prototypes, scale)
                similarity = (prototypes * before).sum(dim=1).mean().abs() / ((before.shape[1] - 1) * (head + 1))
                length = prototypes.square().sum(dim=1).mean()
                loss = F.cross_entropy(logits, target[index]) + _NORM_WEIGHT * length + diversity * similarity
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield prototypes.detach().clone(), scale.detach().clone()

    def classify(self, features: Tensor) -> Tensor:
        """Return the logarithm of the heads' mean probability: (N, d) -> (N, K)."""
        unit = F.normalize(features.to(self.prototypes), dim=1)
        log_p = [
            F.log_softmax(-distances(unit, prototypes, scale), dim=1)
            for prototypes, scale in zip(self.prototypes, self.scales, strict=True)
        ]
        return torch.stack(log_p).logsumexp(dim=0) - math.log(len(log_p))

    def classifier_parameters(self) -> None:
        """Return None: the logits are not linear in the features."""
        return


def distances(unit: Tensor, prototypes: Tensor, scale: Tensor) -> Tensor:
    """Return |s| |h - p_k / |p_k|| of unit features (N, d) and prototypes (K, d): (N, K)."""
    between = torch.cdist(unit, F.normalize(prototypes, dim=1), compute_mode="donot_use_mm_for_euclid_dist")
    return scale.abs() * between
