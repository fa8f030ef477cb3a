"""A sound metric family, and families that break the contract in one way each."""

from __future__ import annotations

import torch

from ncbench import Metric


class Sound(Metric):
    """Mean confidence, and the smallest accuracy of a group."""

    needs = frozenset({"logits"})

    def compute(self, evaluation):
        metrics = {}
        if evaluation.logits is not None and torch.isfinite(evaluation.logits).all():
            metrics["confidence"] = evaluation.logits.double().softmax(dim=1).amax(dim=1).mean().item()
        if evaluation.bias is not None:
            seen = evaluation.count > 0
            metrics["worst"] = float((evaluation.correct[seen] / evaluation.count[seen]).min())
        return metrics


class DividesByEmptyGroups(Sound):
    """Returns NaN where a group has no images."""

    def compute(self, evaluation):
        mean = (evaluation.correct / evaluation.count).mean()
        return {**super().compute(evaluation), "worst": float(mean)}


class FailsWithoutTheAttribute(Sound):
    """Counts on labels that may be unknown."""

    def compute(self, evaluation):
        return {**super().compute(evaluation), "worst": evaluation.bias.double().mean().item()}


class LooksAtTheFirstHalf(Sound):
    """Its number depends on the order of the images."""

    def compute(self, evaluation):
        half = slice(0, (len(evaluation.target) + 1) // 2)
        right = (evaluation.predicted[half] == evaluation.target[half]).double().mean().item()
        return {**super().compute(evaluation), "worst": right}


class RemembersTheBest(Sound):
    """Its number depends on the evaluations before."""

    best = 0.0

    def compute(self, evaluation):
        metrics = super().compute(evaluation)
        self.best = max(self.best, metrics.get("worst", 0.0))
        return {**metrics, "worst": self.best}


class SortsInPlace(Sound):
    """Overwrites the predictions."""

    def compute(self, evaluation):
        metrics = super().compute(evaluation)
        evaluation.predicted.copy_(evaluation.predicted.sort().values)
        return metrics


class TakesWhatIsThere(Sound):
    """Uses features without asking for them."""

    def compute(self, evaluation):
        metrics = super().compute(evaluation)
        if evaluation.features is not None and torch.isfinite(evaluation.features).all():
            metrics["worst"] = evaluation.features.double().norm().item()
        return metrics


class Bootstraps(Sound):
    """Draws from the global generator, and with it changes what training draws."""

    def compute(self, evaluation):
        metrics = super().compute(evaluation)
        torch.rand(1)
        return metrics


class AsksForTooMuch(Sound):
    """Needs something there is not."""

    needs = frozenset({"logits", "images"})


class ReturnsMore(Sound):
    """Returns a metric that the card does not list."""

    def compute(self, evaluation):
        return {**super().compute(evaluation), "unlisted": 1.0}
