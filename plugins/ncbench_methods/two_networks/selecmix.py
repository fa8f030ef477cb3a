"""SelecMix: images mixed with those that contradict the bias, as a network of contrasted features tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method, Published
from ncbench_methods.augmentation.mixing import draws_of_step, mix
from ncbench_methods.precision import at_least_float32
from ncbench_methods.search_spaces import NO_DECAY
from ncbench_methods.two_networks.lff import LfF, LfFParameters

_WIDTH = 128  # of the contrasted features


class SelecMixParameters(LfFParameters):
    """Parameters of :class:`SelecMix`; `q` and `ema` are lff's, and unused without it."""

    on: Literal["erm", "lff"] = Field("erm", description="the mixed loss alone, or beside those of lff")
    mixed_weight: float = Field(0.1, ge=0, description="weight of the mixed loss beside those of lff")
    contrast_q: float = Field(0.7, gt=0, le=1, description="exponent of the generalised contrastive loss")
    temperature: float = Field(0.2, gt=0, description="temperature tau of the contrastive loss")
    encoder_lr_scale: float = Field(1.0, gt=0, description="factor on the learning rate of the contrasted network")
    encoder_weight_decay: float = Field(1e-4, ge=0, description="weight decay of the contrasted network")


class SelecMix(LfF):
    """Mix each image with one that contradicts the bias, and keep that one's class (Hwang et al., NeurIPS 2022).

    A further network, biased by a generalised supervised contrastive loss, says how similar two images of the batch
    are. By a coin for every batch, the partner of each image is the *least* similar one of its class, or the *most*
    similar one of another. The mixture is lambda x_i + (1 - lambda) x_j with lambda ~ U(0, 1/2) for each image, and its
    target is the partner's class y_j alone. The network minimises the cross-entropy of the mixtures only; with `on=lff`
    that of lff, and `mixed_weight` times that of the mixtures. An image without another class in its batch has itself
    for a partner.

    The contrastive loss takes -log p to (1 - p^q) / q for every pair of one class, where p is the softmax over the
    batch of cosines / tau; the published code's is q times that. It is of features after two linear layers, and is
    trained in the same step. The published code picks partners by masking with 0, which a negative similarity does not
    beat; here what is not allowed cannot be picked.

    The published code picks partners among 1,024 images, of which it then takes four batches of 256; here they are
    picked in the batch. Its settings for BFFHQ have another optimizer for the contrasted network, and are not taken
    over.

    Supervision: none.
    """

    Parameters = SelecMixParameters
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Hwang et al. (NeurIPS 2022), the published code's configs and util.py",
            parameters={"encoder_lr_scale": 2.0},
            recipe={"epochs": 200, "batch_size": 256, "optimizer": "adam", "lr": 5e-3, "weight_decay": 0.0},
        ),
        "corrupted_cifar10": Published(
            source="Hwang et al. (NeurIPS 2022), the published code's configs and util.py",
            recipe={"epochs": 300, "batch_size": 256, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
            backbone="resnet18",
        ),
    }
    search_space: ClassVar = {**NO_DECAY, "method.encoder_lr_scale": LogUniform(0.1, 10)}

    def build(self) -> None:
        """Create the network, lff's second one where it is used, and the contrasted one."""
        if self.params.on == "lff":
            super().build()
        else:
            Method.build(self)
        backbone = self.make_backbone()
        d = backbone.feature_dim
        self.encoder = nn.Sequential(backbone, nn.Linear(d, d), nn.ReLU(), nn.Linear(d, _WIDTH))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the networks that classify, and the contrasted network's."""
        encoder = list(self.encoder.parameters())
        ours = {id(parameter) for parameter in encoder}
        p = self.params
        return [
            {"params": [parameter for parameter in self.parameters() if id(parameter) not in ours]},
            {"params": encoder, "lr_scale": p.encoder_lr_scale, "weight_decay": p.encoder_weight_decay},
        ]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the contrastive loss, the cross-entropy of mixtures, and lff's losses where it is used."""
        features = at_least_float32(self.encoder(batch.images))
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(features, dim=1)
            cosine = unit @ unit.T  # (N, N)
            contrast = generalized_contrast(cosine / self.params.temperature, batch.target, self.params.contrast_q)
        draws = draws_of_step(self, "mix")
        partner = partners(cosine.detach(), batch.target, within=draws.random() < 0.5)
        share = torch.from_numpy(draws.uniform(0, 0.5, len(batch)))  # lambda, (N,)
        of_mixed = F.cross_entropy(self(mix(batch.images, partner, share)), batch.target[partner])
        if self.params.on == "erm":
            return {"contrast": contrast, "mixed": of_mixed}
        return {"contrast": contrast, **super().loss(batch), "mixed": self.params.mixed_weight * of_mixed}


def partners(similarity: Tensor, target: Tensor, within: bool) -> Tensor:
    """Return whom each image of a batch is mixed with: (N,) int64.

    Args:
        similarity: (N, N) float.
        target: (N,) int64.
        within: Whether it is the least similar image of the same class, or else the most similar one of another.
    """
    same = target[:, None] == target
    if within:
        return similarity.masked_fill(~same, torch.inf).argmin(dim=1)
    found = similarity.masked_fill(same, -torch.inf).argmax(dim=1)
    return torch.where(same.all(dim=1), torch.arange(len(target), device=target.device), found)


def generalized_contrast(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Return the mean over the images of the mean of (1 - p_ij^q) / q over the others of their class; 0 without others.

    Args:
        logits: (N, N), similarities over the temperature; p_i is their softmax over the other images.
        target: (N,) int64.
        q: In (0, 1]; towards 0 it becomes the supervised contrastive loss (Khosla et al., NeurIPS 2020).
    """
    itself = torch.eye(len(target), dtype=torch.bool, device=target.device)
    log_p = logits.masked_fill(itself, torch.finfo(logits.dtype).min).log_softmax(dim=1)
    positive = ((target[:, None] == target) & ~itself).to(logits)
    losses = -torch.expm1(q * log_p) / q
    return ((positive * losses).sum(dim=1) / positive.sum(dim=1).clamp_min(1)).mean()
