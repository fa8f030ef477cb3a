"""Selective last-layer finetuning: an erm's last layer, finetuned on images that it learned late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, Published, SplitView, Stage
from ncbench_methods.last_layer.fixed_features import FeaturePasses, fits_on_val, halves
from ncbench_methods.two_networks.networks import make_network

_SOURCE = "LaBonte et al. (NeurIPS 2023), the published code's cfgs/; its crops (datamodules/) are of 70 % at least"
_WEIGHT_DECAY = 1e-4
_RECIPE: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 3e-3,
        "schedule": "cosine",
        "weight_decay": _WEIGHT_DECAY,
        "augmentation": "resized_crop_flip",
    }
)


class SELFParameters(Parameters):
    """Parameters of :class:`SELF`."""

    images: int = Field(100, ge=1, description="n, the held-out images with the highest score")
    lr: float = Field(1e-3, gt=0, description="learning rate of the finetuning")
    score: Literal["early", "loss"] = Field(
        "early", description="divergence of an early model's prediction from the last one's, or the last one's loss"
    )
    early: float = Field(0.1, ge=0, le=1, description="share of the epochs after which the early model is taken")
    steps: int = Field(250, ge=1, description="steps of the finetuning")
    batch_size: int = Field(32, ge=1, description="images a step of the finetuning")


class SELF(FeaturePasses):
    """Train an erm, and finetune its last layer on few held-out images (LaBonte et al., NeurIPS 2023, section 5).

    Held out is half of the validation images, of which only targets are used. They are scored by KL(p_early || p_last)
    of the softmax of the model after some epochs and of the last one ("early-stop disagreement"), or by the
    cross-entropy of the last one ("misclassification"). From the n with the highest score, of equal scores the first,
    images are drawn with replacement, every class equally often; SGD with momentum 0.9 and weight decay 1e-4 finetunes
    the last layer from where it is. With as many as there are, it is class-balanced last-layer retraining from the
    erm's weights. The published code takes the divergence's mean over classes, which orders images alike.

    The published grid is n = 20, 100, 500, lr = 1e-4, 1e-3, 1e-2 and early checkpoints at 10, 20 and 50 % of the
    epochs, chosen by the worst group of the other half of the validation images, which stays unseen here; a search
    tries it. Validation metrics are of both halves.

    Supervision: none; the targets of validation images.
    """

    Parameters = SELFParameters
    search_space: ClassVar = {
        **Method.search_space,
        "method.images": (20, 100, 500),
        "method.lr": (1e-4, 1e-3, 1e-2),
        "method.early": (0.1, 0.2, 0.5),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source=f"{_SOURCE}, waterbirds",
            parameters={"batch_size": 32},
            recipe={**_RECIPE, "epochs": 100, "batch_size": 32},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source=f"{_SOURCE}, celeba",
            parameters={"batch_size": 100},
            recipe={**_RECIPE, "epochs": 20, "batch_size": 100},
            backbone="resnet50:weights=imagenet",
        ),
    }

    @classmethod
    def without_val(cls, params: SELFParameters) -> str:
        """Return that there is nothing to fit on."""
        return fits_on_val("self_llr")

    def build(self) -> None:
        """Create the network, and one to keep the early model in."""
        super().build()
        if self.params.score == "early":
            self.early = make_network(self).requires_grad_(False)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training up to the early model, and the rest of the same training."""
        if self.params.score != "early":
            return [Stage("train", epochs)]
        early = min(round(self.params.early * epochs), epochs - 1)
        return [Stage("early", early), Stage("train", epochs - early, continues=early > 0)]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Keep the model as it is after the early epochs."""
        if stage.name == "train" and self.params.score == "early":
            self.early[0].load_state_dict(self.backbone.state_dict())
            self.early[1].load_state_dict(self.classifier.state_dict())

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the erm."""
        return F.cross_entropy(self(batch.images), batch.target)

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Choose images by their score, and finetune the last layer on them."""
        assert val is not None  # or it would have been refused
        held_out = halves(len(val), self.task.generator("self_llr"))[0].sort().values
        chosen = held_out[highest(self._scores(val, held_out).cpu(), self.params.images)]
        features, target = self.features_of(val, chosen), val.target[chosen.to(val.target.device)]
        self.set_classifier(*self._finetuned(features, target))

    @torch.no_grad()
    def _scores(self, val: SplitView, index: Tensor) -> Tensor:
        """Return the scores of the images at `index`: (n,) float64."""
        scores = []
        for batch in val.batches(index):
            log_p = F.log_softmax(self(batch.images).double(), dim=1)
            if self.params.score == "early":
                early = F.log_softmax(self.early(batch.images).double(), dim=1)
                scores.append((early.exp() * (early - log_p)).sum(dim=1))
            else:
                scores.append(F.nll_loss(log_p, batch.target, reduction="none"))
        return torch.cat(scores)

    def _finetuned(self, features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classifier after the finetuning on features (n, d) float64 with targets (n,)."""
        generator = self.task.generator("self_llr steps")
        share = 1 / torch.bincount(target)[target].double().cpu()  # (n,) every class equally often
        weight, bias = (p.detach().to(features).requires_grad_() for p in self.classifier.parameters())
        optimizer = torch.optim.SGD([weight, bias], lr=self.params.lr, momentum=0.9, weight_decay=_WEIGHT_DECAY)
        for _ in range(self.params.steps):
            drawn = torch.multinomial(share, self.params.batch_size, replacement=True, generator=generator)
            drawn = drawn.to(target.device)
            optimizer.zero_grad()
            F.cross_entropy(features[drawn] @ weight.T + bias, target[drawn]).backward()
            optimizer.step()
        return weight.detach(), bias.detach()


def highest(score: Tensor, number: int) -> Tensor:
    """Return the images with the highest scores, of equal ones the first, as ascending positions: (N,) -> (n,)."""
    return score.argsort(descending=True, stable=True)[:number].sort().values
