"""Tau-normalisation: the class weights of an erm, divided by a power of their norms."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ncbench import Method, Parameters, SplitView
from ncbench_methods.last_layer.fixed_features import LastLayer

CANDIDATES = tuple(step / 20 for step in range(21))
"""Values of tau that are tried on validation images."""


class TauNormParameters(Parameters):
    """Parameters of :class:`TauNorm`."""

    tau: float | None = Field(
        None, ge=0, description="power of the norms; None: of 0, 0.05, ..., 1 the best on the validation images"
    )


class TauNorm(LastLayer):
    """Replace an erm's classifier by the weights w_k / |w_k|^tau, without a bias (Kang et al., ICLR 2020, section 4.2).

    Frequent classes come to have larger weights; tau = 1 makes all norms 1, and tau = 0 leaves them. Tau is the one of
    0, 0.05, ..., 1 with the best mean of the classes' accuracies on the validation images, the smallest if several
    are, unless it is given; validation metrics are then of images that it was chosen by. The report says which it is. A
    search has nothing to try.

    Supervision: none; the targets of validation images unless tau is given.
    """

    Parameters = TauNormParameters

    @classmethod
    def without_val(cls, params: TauNormParameters) -> str:
        """Return that tau has to be given, unless it is."""
        if params.tau is not None:
            return ""
        return (
            "tau_norm chooses tau on validation images, and this dataset has none. Give it, as in tau_norm:tau=1, "
            "or hold images out, as in colored_digits:val=0.1."
        )

    def build(self) -> None:
        """Create the network, and room for the weights of the erm."""
        super().build()
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes, bias=False)

    def start_from(self, base: Method) -> None:
        """Take over the backbone and the weights."""
        super().start_from(base)
        self.classifier.load_state_dict({"weight": base.classifier.weight})

    @torch.no_grad()
    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Choose tau, and divide."""
        weight = self.classifier.weight
        tau = self.params.tau
        if tau is None:
            assert val is not None  # or it would have been refused
            tau = self._best(weight, val)
        self.report["tau"] = tau
        weight.copy_(normalised(weight, tau))

    def _best(self, weight: Tensor, val: SplitView) -> float:
        weights = [normalised(weight, tau) for tau in CANDIDATES]
        correct = torch.zeros(len(CANDIDATES), self.task.num_classes, dtype=torch.int64, device=weight.device)
        for features, batch in self.passes(val):
            for row, candidate in zip(correct, weights, strict=True):
                hit = (features @ candidate.T).argmax(dim=1) == batch.target
                row.index_add_(0, batch.target, hit.long())
        count = torch.bincount(val.target, minlength=self.task.num_classes)
        accuracy = (correct[:, count > 0] / count[count > 0]).double().mean(dim=1)  # (candidates,)
        best = int(accuracy.argmax())
        self.report["chosen_by_class_mean_accuracy"] = float(accuracy[best])
        return CANDIDATES[best]


def normalised(weight: Tensor, tau: float) -> Tensor:
    """Return w_k / |w_k|^tau of every row (K, d); a row of zeros stays one."""
    norm = weight.norm(dim=1, keepdim=True)
    return weight / torch.where(norm > 0, norm, 1.0) ** tau
