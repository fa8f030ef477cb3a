"""DeNetDM: a deep network learns what a shallow one cannot keep it from, and a student goes on from the shallow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, ConfigurationError, Method, Parameters, Published, SplitView, Stage
from ncbench_methods.precision import at_least_float32
from ncbench_methods.two_networks.networks import depth

_SMALL_CNN = 3  # layers of small_cnn


class DeNetDMParameters(Parameters):
    """Parameters of :class:`DeNetDM`."""

    shallow: str = Field(
        "",
        description="spec of the shallow network, with fewer layers than the run's; empty for small_cnn beside a "
        "deeper convolutional network, and for an mlp of one hidden layer beside any other",
    )
    separate_epochs: int = Field(0, ge=0, description="epochs of the first stage; 0 for the recipe's number")
    distillation: float = Field(1.0, ge=0, description="weight of the distillation from the shallow network")
    temperature: float = Field(2.0, gt=0, description="temperature T of the distillation")


class DeNetDM(Method):
    """Separate bias from the rest by depth, then distil the rest into a deep student (Sreelatha et al., NeurIPS 2024).

    Deep networks learn the attribute that is decoded more easily, shallow ones are left with the other. Stage 1 trains
    a shallow network s and the run's own d by cross-entropy of a classifier on the *sum* of their features, fc(s(x) +
    d(x)), a product of experts. In stage 2 a new student t of the run's kind takes the place of s; d is frozen, and
    with T the temperature the loss is

        CE(fc(t(x) + d(x)), y) + weight T^2 KL(softmax(fc_1(s(x)) / T) || softmax(fc(t(x)) / T)),

    where fc_1 is fc as stage 1 left it. Predictions are fc(s(x)) in stage 1, fc(t(x)) in stage 2. Without d and the
    distillation, either stage is erm. Where s has other dimensions than d, a linear map follows it.

    In stage 2 d and s are in evaluation mode; the published code leaves d's BatchNorm in training mode. The paper's
    networks on colored MNIST have one hidden layer (s) and three (d and t), which is followed here; its code's have two
    and four. On corrupted CIFAR-10 and BFFHQ the code's student is a pretrained ResNet-18, and the epoch is chosen by
    conflicting images of the evaluation split, for BFFHQ the test split: no settings of these are taken over. The paper
    tunes on a small unbiased validation set with bias labels.

    Supervision: none in training.
    """

    Parameters = DeNetDMParameters
    learns_features = True
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Sreelatha et al. (NeurIPS 2024): the paper's networks, the published code's recipe",
            parameters={"shallow": "mlp:depth=1,hidden=100"},
            recipe={"epochs": 100, "batch_size": 64, "optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-3},
            backbone="mlp",
        ),
    }
    search_space: ClassVar = {**Method.search_space, "method.distillation": (0.0, 1.0)}

    def build(self) -> None:
        """Create the three networks, their classifier, and the copy of it that teaches.

        Raises:
            ConfigurationError: The run's network has no more layers than the shallow one.
        """
        super().build()  # the student and fc
        self.deep = self.make_backbone()
        layers = depth(self.deep)
        convolves = any(isinstance(module, nn.Conv2d) for module in self.deep.modules())
        spec = self.params.shallow or ("small_cnn" if convolves and layers > _SMALL_CNN else "mlp:depth=1")
        self.shallow = self.make_backbone(spec)
        if layers <= (depth(self.shallow) if self.params.shallow else 1):
            raise ConfigurationError(
                f"denetdm tells bias from the rest by depth, and the run's backbone, of depth {layers}, is no deeper "
                f"than its shallow network {spec}. Use a deeper backbone, such as --backbone mlp:depth=5."
            )
        width, own = self.backbone.feature_dim, self.shallow.feature_dim
        self.project = nn.Identity() if own == width else nn.Linear(own, width, bias=False)
        self.teacher = nn.Linear(width, self.task.num_classes).requires_grad_(False)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the shallow and the deep network, and that of the student."""
        return [Stage("separate", self.params.separate_epochs or epochs), Stage("train", epochs)]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the second stage, keep the classifier that teaches."""
        if stage.name == "train":
            self.teacher.load_state_dict(self.classifier.state_dict())

    @property
    def separating(self) -> bool:
        """Whether the first stage is under way."""
        return self.progress.stage == "separate"

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained; the others' BatchNorm would go on to change."""
        super().train(mode)
        if not self.separating:
            self.deep.eval()
            self.shallow.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the networks of the stage."""
        networks = [self.shallow, self.project, self.deep] if self.separating else [self.backbone]
        return [{"params": [each for module in (*networks, self.classifier) for each in module.parameters()]}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the summed features, and in the second stage the distillation."""
        features = self.features(batch.images)
        if self.separating:
            return {"product": F.cross_entropy(self.classifier(features + self.deep(batch.images)), batch.target)}
        with torch.no_grad():
            deep = self.deep(batch.images)
            taught = self.teacher(self.project(self.shallow(batch.images)))
            taught = at_least_float32(taught) / self.params.temperature
        log_p = F.log_softmax(at_least_float32(self.classifier(features)) / self.params.temperature, dim=1)
        divergence = F.kl_div(log_p, taught.softmax(dim=1), reduction="batchmean")
        return {
            "product": F.cross_entropy(self.classifier(features + deep), batch.target),
            "distillation": self.params.distillation * self.params.temperature**2 * divergence,
        }

    def features(self, images: Tensor) -> Tensor:
        """Return the features of the network that predicts, the shallow one's in the first stage: (N, d)."""
        return self.project(self.shallow(images)) if self.separating else super().features(images)
