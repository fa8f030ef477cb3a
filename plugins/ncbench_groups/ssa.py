"""Spread spurious attribute: attributes told by networks that learn them from the validation images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, GroupInference, Groups, Parameters, SplitView, Stage
from ncbench_methods.conditional_prior import log_conditional
from ncbench_methods.last_layer.fixed_features import group_accuracies, halves

FOLDS = 3


class SSAParameters(Parameters):
    """Parameters of :class:`SSA`."""

    epochs: int = Field(10, ge=1, description="epochs of each of the three networks")
    threshold: float = Field(
        0.95, gt=0, le=1, description="least probability of a pseudo-attribute in the rarest group [tau_gmin]"
    )


class SSA(GroupInference):
    """The group of an image is the attribute that a network predicts which has not been trained on it.

    Training images are dealt into three folds, validation images into two halves (Nam et al., ICLR 2022, algorithm 1).
    For each fold a network learns the attribute from the first half, L, and from the training images of the other two
    folds, U, whose attribute it predicts itself. A step minimises

        mean_L CE(f(x), a) + mean of CE(f(x), a^(x)) over the images of U with p(a^(x)) >= tau_g,

    with a^ the attribute that f predicts, p its probability and g = (y, a^) (eq. 8). For the group of which L has the
    fewest images tau_g is `threshold`; for any other it is the least with which L and U together have no more images of
    the group than of the rarest one (eq. 5 to 7), so that pseudo-attributes make up for what L is short of. Groups that
    L lacks altogether are not the rarest. Then the network labels the fold that it has not seen, every image of it.

    Thresholds are computed at the beginning of every epoch, which is a stage of its own since images of both splits are
    needed for that; a^ and p are those of the step. Each image of U comes with one of L, without augmentation. Of a
    fold's epochs that one counts whose network has the best worst group on the other half of the validation images.

    As a classifier, which the metrics are of, it predicts the class that is the most frequent given the attribute.

    No settings are published for a dataset: the paper searches learning rates 1e-3, 1e-4 and 1e-5 and weight decays
    1e-1 and 1e-4, with SGD at momentum 0.9 and batches of 64, by validation images. SpuCo's version compares logits,
    not probabilities, with the threshold, counts groups in a batch, and adds up the gradients of all steps.

    Supervision: the bias attribute of validation images.
    """

    Parameters = SSAParameters
    alternative = "Infer groups without it: --groups errors."

    current: Tensor
    fold: Tensor
    partner: Tensor
    thresholds: Tensor
    attribute: Tensor
    scores: Tensor
    log_prior: Tensor

    def build(self) -> None:
        """Create a network of the attribute, and deal the images out."""
        self._build_network()
        task = self.task
        number, cells = task.num_train, task.num_classes * task.num_bias
        fold = torch.randperm(number, generator=task.generator("ssa folds")) % FOLDS
        self.register_buffer("fold", fold)  # (N,) in which each training image is
        self.register_buffer("current", torch.tensor(-1))  # the fold whose network is trained
        self.register_buffer("partner", torch.zeros(number, dtype=torch.int64))  # (N,) the validation image beside each
        self.register_buffer("thresholds", torch.ones(cells, dtype=torch.float64))  # (K * B,) tau_g
        self.register_buffer("attribute", torch.zeros(number, dtype=torch.int64))  # (N,) what is told
        self.register_buffer("scores", torch.full((FOLDS, 2), -1.0))  # of the epoch that counts
        self.register_buffer("log_prior", log_conditional(task.val_group_counts).float())  # (B, K)
        self.learned, self.judged = halves(int(task.val_group_counts.sum()), task.generator("ssa halves"))

    def _build_network(self) -> None:
        self.backbone = self.make_backbone()
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_bias)
        self.backbone.init_classifier(self.classifier)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return a stage for each epoch of each fold's network."""
        return [
            Stage(f"fold {fold + 1}", 1, continues=epoch > 0)
            for fold in range(FOLDS)
            for epoch in range(self.params.epochs)
        ]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Judge the epoch before, begin a new network where a fold begins, and compute the thresholds."""
        assert val is not None  # its attribute is declared
        self.val = val
        self._judge(train, val)
        if not stage.continues:
            self.current += 1
            self._build_network()
            self.to(self.fold.device)
            self.eval()
        seen = (self.fold != self.current).nonzero()[:, 0]
        attribute, probability = self._predictions(train, seen)
        self.thresholds = group_thresholds(
            probability, self._cell(train.target[seen], attribute), self._labelled(val), self.params.threshold
        )

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return the images of the other folds once each, in random order, and choose what comes beside them."""
        turn = torch.randperm(len(train), generator=generator) % len(self.learned)
        self.partner.copy_(self.learned[turn])
        seen = (self.fold != self.current).nonzero()[:, 0].cpu()
        return seen[torch.randperm(len(seen), generator=generator)]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the labelled images' attributes, and that of the pseudo-attributes that count."""
        labelled = list(self.val.batches(self.partner[batch.index]))
        bias = torch.cat([each.bias for each in labelled])
        images = torch.cat([*(each.images for each in labelled), batch.images])
        known, unknown = self._attribute_logits(images).float().tensor_split([len(bias)])
        probability, attribute = unknown.detach().double().softmax(dim=1).max(dim=1)
        counts = probability >= self.thresholds[self._cell(batch.target, attribute)]
        losses = F.cross_entropy(unknown, attribute, reduction="none")
        return {
            "attribute": F.cross_entropy(known, bias),
            "pseudo_attribute": (losses * counts).sum() / counts.sum().clamp_min(1),
        }

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the attributes that were told."""
        assert val is not None
        self._judge(train, val)
        self.report["attribute_worst_group_accuracy"] = float(self.scores[:, 0].mean())
        return Groups(self.attribute, self.task.num_bias)

    def classify(self, features: Tensor) -> Tensor:
        """Return log p(y) = log sum_a p(a) pi(y | a), with pi as it is in the validation images: (N, d) -> (N, K)."""
        of_attribute = self.classifier(features).float().log_softmax(dim=1)
        return (of_attribute[:, :, None] + self.log_prior).logsumexp(dim=1)

    def classifier_parameters(self) -> None:
        """Return None: classes are not told by a linear classifier."""

    def _judge(self, train: SplitView, val: SplitView) -> None:
        """Label the current fold anew if its network does not have a worse worst group than one before it."""
        if self.current < 0:
            return
        judged = self.judged.to(val.target.device)
        logits = self._logits(val, judged)
        target, bias = val.target[judged], val.bias[judged]
        score = self.scores.new_tensor(group_accuracies(logits, bias, self._cell(target, bias)))
        if score.tolist() >= self.scores[self.current].tolist():
            held_out = (self.fold == self.current).nonzero()[:, 0]
            self.scores[self.current] = score
            self.attribute[held_out] = self._predictions(train, held_out)[0]

    def _cell(self, target: Tensor, attribute: Tensor) -> Tensor:
        return target * self.task.num_bias + attribute

    def _labelled(self, val: SplitView) -> Tensor:
        """Return how many images of each group the network learns the attribute from: (K * B,) int64."""
        learned = self.learned.to(val.target.device)
        return torch.bincount(self._cell(val.target[learned], val.bias[learned]), minlength=len(self.thresholds))

    def _attribute_logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits

    @torch.no_grad()
    def _logits(self, view: SplitView, index: Tensor) -> Tensor:
        empty = self.log_prior.new_empty(0, self.task.num_bias)
        return torch.cat([empty, *(self._attribute_logits(batch.images).float() for batch in view.batches(index))])

    def _predictions(self, view: SplitView, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted attribute of some images, (n,) int64, and its probability, (n,) float64."""
        probability, attribute = self._logits(view, index).double().softmax(dim=1).max(dim=1)
        return attribute, probability


def group_thresholds(probability: Tensor, cell: Tensor, labelled: Tensor, least: float) -> Tensor:
    """Return the probability from which a pseudo-attribute counts, for each group: (G,) float64 (eq. 5 to 7).

    Args:
        probability: (n,) float64, of the predicted attribute of each unlabelled image.
        cell: (n,) int64, its group by that attribute, 0..G-1.
        labelled: (G,) int64, labelled images of each group.
        least: The threshold of the group with the fewest of these, but at least one.
    """
    rarest = int(torch.where(labelled > 0, labelled, labelled.max() + 1).argmin())
    sure = int(((cell == rarest) & (probability >= least)).sum())
    room = (labelled[rarest] + sure - labelled).clamp_min(0).tolist()
    thresholds = torch.zeros(len(labelled), dtype=torch.float64, device=labelled.device)
    for group, most in enumerate(room):
        own = probability[cell == group]
        if len(own) > most:  # more than there is room for: of equal ones, none
            falling = own.sort(descending=True).values
            above = falling[falling > falling[most]]
            thresholds[group] = above[-1] if len(above) else torch.inf
    thresholds[rarest] = least
    return thresholds
