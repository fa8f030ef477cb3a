"""Cross-risk minimisation: twins that are each other's held-out judge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncbench import Batch, Groups, SplitView, Stage
from ncbench_groups.reference import Reference


class XRM(Reference):
    """Group 1 are the images that either of two twins misclassifies, which have learned to agree on what is easy.

    A fair coin gives each training image to one of two networks. A step minimises the cross-entropy of each image's own
    twin on its dynamic label, which begins as its class. With K classes and p the largest probability that the *other*
    twin gives, which has not been trained on the image, the dynamic label then becomes that twin's prediction with
    probability (p - 1/K) K / (K - 1): never where it is undecided, always where it is certain. Twins that rely on the
    bias attribute so turn each other's labels of conflicting images into those of the attribute, and end sure of what
    they get wrong. The loss is the sum over dynamic classes of the mean over the batch's images of each.

    As in the published code, an image is of group 1 if either twin errs on its true class; in the paper it is the one
    that was not trained on it. A class of which all images end in one group tells that training was too short or too
    long. The report has the share of labels that are another class at the end (`flips`), by which the authors choose
    their settings. Theirs are drawn at random and of steps, not epochs, so none are published here.

    `features` and metrics are those of the first twin. Supervision: none.
    """

    own: Tensor
    label: Tensor

    def build(self) -> None:
        """Create the twins, and deal the images out to them."""
        super().build()
        self.twin = self.make_backbone()
        self.twin_classifier = nn.Linear(self.twin.feature_dim, self.task.num_classes)
        self.twin.init_classifier(self.twin_classifier)
        coin = torch.rand(self.task.num_train, generator=self.task.generator("xrm twins"))
        self.register_buffer("own", coin < 0.5)  # (N,) whether an image is the first twin's
        self.register_buffer("label", torch.zeros(self.task.num_train, dtype=torch.int64))  # (N,) dynamic

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Begin with the true classes."""
        self.label.copy_(train.target)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of each image's own twin, and let the other one change its label."""
        first, second = self.both(batch.images)
        own, label = self.own[batch.index, None], self.label[batch.index]
        losses = F.cross_entropy(torch.where(own, first, second), label, reduction="none")
        count = torch.zeros(self.task.num_classes).to(losses).index_add_(0, label, torch.ones_like(losses))
        held_out = torch.where(own, second, first).detach().float()
        at = self.progress  # a function of the position, so that a resumed run draws the same
        generator = self.task.generator(f"xrm labels {at.epoch} {at.step}")
        chance = torch.rand(len(label), generator=generator).to(label.device)
        self.label[batch.index] = changed_labels(held_out, label, chance)
        return (losses / count[label]).sum()

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the twins: (N, C, H, W) -> twice (N, K)."""
        return self(images), self.twin_classifier(self.twin(images))

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return what either twin gets wrong, and the rest."""
        self.report["flips"] = float((self.label != train.target).float().mean())
        return Groups(self.errors(train), 2, self.annotated(val, self.errors))

    @torch.no_grad()
    def errors(self, view: SplitView) -> Tensor:
        """Return 1 for each image of a split that a twin misclassifies, else 0: (N,) int64."""
        wrong = [
            torch.stack([logits.argmax(dim=1) != batch.target for logits in self.both(batch.images)]).any(dim=0)
            for batch in view.batches()
        ]
        return torch.cat(wrong).long()


def changed_labels(held_out: Tensor, label: Tensor, chance: Tensor) -> Tensor:
    """Return the dynamic labels after a step: (N,) int64.

    Args:
        held_out: (N, K) logits of the twins that were not trained on the images.
        label: (N,) int64, the labels before it.
        chance: (N,) in [0, 1), one draw each.
    """
    classes = held_out.shape[1]
    largest, predicted = held_out.softmax(dim=1).max(dim=1)
    return torch.where(chance < (largest - 1 / classes) * classes / (classes - 1), predicted, label)
