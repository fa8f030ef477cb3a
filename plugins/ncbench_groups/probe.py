"""What a linear probe of features that were learned without the classes predicts."""

from __future__ import annotations

from typing import Self

from pydantic import Field
from torch import nn

from ncbench_groups.predictions import Predictions
from ncbench_groups.reference import ReferenceParameters


class ProbeParameters(ReferenceParameters):
    """Parameters of :class:`Probe`."""

    epochs: int = Field(10, ge=1, description="epochs of the linear classifier")
    network: str = Field(
        "", description="spec of the network whose features are probed, with its weights; empty for the run's backbone"
    )


class Probe(Predictions):
    """The group of an image is the class that a linear classifier of fixed features predicts, right or wrong.

    The network stays as it was made, with the weights that its spec names: self-supervised ones as in uLA (Tsirigotis
    et al., NeurIPS 2023), such as `network="timm:model=vit_small_patch16_224.dino,weights=pretrained"`, or others. The
    linear classifier is trained with cross-entropy. Features that were learned without the classes of these images
    give the bias attribute if it is what they show most clearly, and no length of training makes the classifier right
    on every image. Without weights the features are those of a random network.

    uLA then adds the logarithm of pi(y | b^) to the logits while it trains, with b^ these groups and eta = tau = 1:
    that is `bias_balance`, with the frequencies as they are in the place of their running estimate. It chooses the
    epoch by these groups of validation images, which `val=true` gives.

    No settings are published here: uLA's encoders are trained on the images of each dataset, by MoCo v2+, for which
    there is no method here. Its classifier takes 10 epochs on colored MNIST, of AdamW at 1e-4 with batches of 256.

    Supervision: none.
    """

    Parameters = ProbeParameters

    def build(self) -> None:
        """Create the network, which is not trained, and the classifier."""
        self.backbone = self.make_backbone(self.params.network or None).requires_grad_(False)
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes)
        self.backbone.init_classifier(self.classifier)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the classifier; the network's BatchNorm would go on to change in training mode."""
        super().train(mode)
        self.backbone.eval()
        return self
