"""A sound method, and methods that break the contract in one way each."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Method, Parameters, Published, Stage, Supervision, Uniform, require_bias_labels


class SoundParameters(Parameters):
    """Parameters of the sound method."""

    smoothing: float = Field(0.1, ge=0, lt=1, description="of the labels")
    reduction: Literal["mean", "sum"] = Field("mean", description="over the batch")


class Sound(Method):
    """Cross-entropy that is right in every respect."""

    Parameters = SoundParameters

    def loss(self, batch):
        return F.cross_entropy(
            self(batch.images),
            batch.target,
            label_smoothing=self.params.smoothing,
            reduction=self.params.reduction,
        )


class UsesEverySeam(Sound):
    """Two views, a second network, a head that is trained alone by balanced batches, a schedule and a report."""

    views = 2

    def build(self):
        super().build()
        self.second = self.make_backbone("mlp:hidden=8")
        self.register_buffer("confidence", torch.zeros(self.task.num_train))

    def stages(self, epochs):
        return [Stage("train", epochs), Stage("head", 2, continues=True)]

    def start_stage(self, stage, train, val):
        chosen = torch.arange(0, len(train), 2)
        for split, positions in ((train, chosen), (val, None)):
            for batch in split.batches(positions) if split else ():
                with torch.no_grad():
                    score = self(batch.images).softmax(dim=1).amax(dim=1)
                if split is train:
                    self.confidence[batch.index] = score

    def order(self, train, generator):
        if self.progress.stage == "train":
            return super().order(train, generator)
        return [
            (train.target == label).nonzero()[:, 0]
            for label in torch.randperm(self.task.num_classes, generator=generator)
            if (train.target == label).any()
        ]

    def parameter_groups(self):
        scale = float(self.progress.stage != "head")
        rest = [*self.backbone.parameters(), *self.second.parameters()]
        return [{"params": rest, "lr_scale": scale}, {"params": list(self.classifier.parameters())}]

    def loss(self, batch):
        first, second = batch.views
        pull = (self.backbone(first) - self.second(second)).square().mean()
        weight = (self.progress.epoch + self.progress.step / self.progress.steps) / self.progress.epochs
        return {"cross_entropy": super().loss(batch), "pull": weight * pull}

    def finish(self, train, val):
        self.report["confidence"] = self.confidence.mean().item()


class BuildsOnErm(Sound):
    """Trains a new classifier on the features of a finished run."""

    @classmethod
    def base(cls, params):
        return "erm"

    def parameter_groups(self):
        return [{"params": list(self.classifier.parameters())}]


class BuildsOnNothing(BuildsOnErm):
    """The method it builds on does not exist."""

    @classmethod
    def base(cls, params):
        return "emr"


class TakesWhatItsBaseHasNot(BuildsOnErm):
    """Expects a second network of its base."""

    def start_from(self, base):
        self.backbone.load_state_dict(base.second.state_dict())


class ReturnsNothing(Sound):
    """Forgets the return."""

    def loss(self, batch):
        super().loss(batch)


class PeeksAtTheAttribute(Sound):
    """Balances the attribute by labels it did not declare."""

    def loss(self, batch):
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none")
        if batch._bias is not None:
            losses = losses * (1 + (batch._bias != batch.target % 2))
        return losses.mean()


class PeeksAtTheValidationAttribute(Sound):
    """Weighs the attribute's values by labels of validation images that it did not declare."""

    def build(self):
        super().build()
        self.register_buffer("share", torch.ones(()))

    def start_stage(self, stage, train, val):
        if val is not None and val._bias is not None:
            self.share.copy_((val._bias * torch.arange(len(val))).double().mean())

    def loss(self, batch):
        return self.share * super().loss(batch)


class OrdersBeyondTheEnd(Sound):
    """The last of its batches has one image more than there are."""

    def order(self, train, generator):
        return [*torch.randperm(len(train), generator=generator).split(8), torch.tensor([len(train)])]


class StartsOverWhereItGoesOn(Sound):
    """Makes a new network at the start of a stage that goes on with the old one's optimizer."""

    def stages(self, epochs):
        return [Stage("train", epochs), Stage("again", epochs, continues=True)]

    def start_stage(self, stage, train, val):
        if stage.continues:
            self.build()


class ReportsWords(Sound):
    """What it reports is no number."""

    def finish(self, train, val):
        self.report["chosen"] = "the second"


class ReportsNoNumber(Sound):
    """What it reports is not finite."""

    def finish(self, train, val):
        self.report["score"] = float("nan")


class AsksForABackboneThatThereIsNot(Sound):
    """Misspells the second network."""

    def build(self):
        super().build()
        self.second = self.make_backbone("mpl")


class HasNoGradient(Sound):
    """Its loss depends on no parameter."""

    def loss(self, batch):
        return super().loss(batch).detach()


class FlipsAViewInPlace(Sound):
    """Changes the second of its views in place."""

    views = 2

    def loss(self, batch):
        batch.views[1].neg_()
        return super().loss(batch)


class FindsTheHierarchy(Sound):
    """Takes the class tree out of the task without declaring it."""

    def build(self):
        super().build()
        tree = self.task._hierarchy
        self.register_buffer("distances", torch.zeros(1) if tree is None else tree.distances())


class DrawsFromTheSystem(Sound):
    """Mixes in noise of a generator that nobody seeded."""

    def loss(self, batch):
        noise = np.random.default_rng().normal(size=batch.images.shape).astype(np.float32)
        return F.cross_entropy(self(batch.images + 0.1 * torch.from_numpy(noise)), batch.target)


class SeedsByTheClock(Sound):
    """Draws from a generator that is seeded by the time."""

    def loss(self, batch):
        generator = torch.Generator().manual_seed(time.time_ns())
        return F.cross_entropy(
            self(batch.images + 0.1 * torch.rand(batch.images.shape, generator=generator)), batch.target
        )


class ForgetsItsAverage(Sound):
    """Keeps a running average of each image's loss where no checkpoint finds it."""

    def build(self):
        super().build()
        self.register_buffer("average", torch.zeros(self.task.num_train), persistent=False)

    def loss(self, batch):
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none")
        average = 0.9 * self.average[batch.index] + losses.detach()
        self.average[batch.index] = average
        return (average * losses).mean()


class ForgetsWhatItPredictsBy(Sound):
    """Fits a temperature for each class after training, and keeps it in a plain attribute."""

    temperature: Tensor | float = 1.0

    @torch.no_grad()
    def finish(self, train, val):
        self.eval()
        self.temperature = torch.cat([self(batch.images) for batch in train.batches()]).std(dim=0) + 1

    def classify(self, features):
        return super().classify(features) / self.temperature

    def classifier_parameters(self):
        return None


class StartsTheStageOver(Sound):
    """Two stages, told apart by a counter that a resumed run begins anew."""

    def build(self):
        super().build()
        self.stage = 0

    def stages(self, epochs):
        return [Stage("warm_up", 2), Stage("train", epochs)]

    def start_stage(self, stage, train):
        self.stage += 1

    def loss(self, batch):
        return self.stage * super().loss(batch)


class NormalisesByTheBatch(Sound):
    """Standardises features by the batch's own statistics, in evaluation too."""

    def features(self, images):
        features = super().features(images)
        return features - features.mean(dim=0)


class SmoothsAlongTheBatch(Sound):
    """Lets every image's features depend on the one before it."""

    def features(self, images):
        features = super().features(images)
        return features + 0.5 * features.roll(1, dims=0)


class AdaptsToWhatItSees(Sound):
    """Changes with every batch that it classifies."""

    def build(self):
        super().build()
        self.register_buffer("seen", torch.zeros(()))

    def classify(self, features):
        if not self.training:
            self.seen += 1
        return super().classify(features) + self.seen

    def classifier_parameters(self):
        return None


class CentresInPlace(Sound):
    """Subtracts the mean from the images it was handed."""

    def features(self, images):
        images -= 0.5
        return super().features(images)


class RelabelsInPlace(Sound):
    """Overwrites the training targets once it is done."""

    def finish(self, train, val):
        train.target.zero_()


class DividesByTheOtherClasses(Sound):
    """Contrasts with the other classes of the batch, of which there may be none."""

    def loss(self, batch):
        logits = self(batch.images)
        if len(batch) == 1:
            return F.cross_entropy(logits, batch.target)
        apart = (batch.target[:, None] != batch.target[None, :]).float()
        p = logits.softmax(dim=1)
        return F.cross_entropy(logits, batch.target) + (apart * (p @ p.T)).sum() / apart.sum()


class NeedsTwoImages(Sound):
    """Puts BatchNorm in front of the classifier, which needs two images."""

    def build(self):
        super().build()
        self.norm = nn.BatchNorm1d(self.backbone.feature_dim)

    def features(self, images):
        return self.norm(super().features(images))


class TakesAnything(Parameters):
    """Parameters that check nothing."""

    smoothing: float = Field(0.1, ge=0, lt=1, description="of the labels")
    reduction: Literal["mean", "sum"] = Field("mean", description="over the batch")

    @classmethod
    def build(cls, values, owner):
        return cls.model_construct(**values)


class AcceptsAnyParameter(Sound):
    """Its parameters are whatever it is given."""

    Parameters = TakesAnything


class SecretParameters(SoundParameters):
    """Parameters of which one is a secret."""

    strength: float = 1.0


class KeepsItsParametersSecret(Sound):
    """A parameter has no description."""

    Parameters = SecretParameters


class WritesALog(Sound):
    """Appends to a file in the working folder."""

    def loss(self, batch):
        loss = super().loss(batch)
        with Path("losses.log").open("a") as file:
            file.write(f"{loss.item()}\n")
        return loss


class HasTenClasses(Sound):
    """Its classifier has ten rows, as for digits."""

    def build(self):
        super().build()
        self.classifier = nn.Linear(self.backbone.feature_dim, 10)


class SeedsTorch(Sound):
    """Seeds torch's global generator before every step."""

    def loss(self, batch):
        torch.manual_seed(0)
        return super().loss(batch)


class ForcesDeterminism(Sound):
    """Changes a setting of torch for everybody."""

    def finish(self, train, val):
        torch.use_deterministic_algorithms(True)


class ShufflesByItself(Sound):
    """Draws the order of the images from the global generator."""

    def order(self, train, generator):
        return torch.randperm(len(train))


class CountsOnTheAttribute(Sound):
    """Reads the attribute without declaring it."""

    def loss(self, batch):
        return super().loss(batch) + 0 * batch.bias.sum()


class DividesByEveryGroup(Sound):
    """Weights groups by 1 / n, those without images too."""

    def build(self):
        require_bias_labels(self.task, "it", "Use another.")
        super().build()
        weight = 1 / self.task.group_counts
        self.register_buffer("weight", (weight / weight.sum()).float())

    def loss(self, batch):
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none")
        return (self.weight[batch.target, batch.bias] * losses).mean()


class ClaimsMoreSupervision(Sound):
    """Uses more labels than its card allows."""

    @classmethod
    def supervision(cls, params, declared):
        return Supervision(train="bias")


class MixesTypes(Sound):
    """Writes half-precision logits into a float32 buffer by index, which torch refuses."""

    def build(self):
        super().build()
        self.register_buffer("last", torch.zeros(self.task.num_train))

    def loss(self, batch):
        logits = self(batch.images)
        self.last[batch.index] = logits.detach()[:, 0]
        return F.cross_entropy(logits, batch.target)


class PublishesNonsense(Sound):
    """Its published settings hold an unknown recipe key."""

    published: ClassVar = {"colored_mnist": Published(source="nowhere", recipe={"epoch": 3})}


class SearchesWhatItHasNot(Sound):
    """A search would set a parameter that it does not have."""

    search_space: ClassVar = {**Method.search_space, "method.gamma": Uniform(0, 1)}


class SearchesWhatTheRecipeRefuses(Sound):
    """A search would draw epochs that are no whole number."""

    search_space: ClassVar = {"recipe.epochs": Uniform(1, 10)}


class SearchesNowhere(Sound):
    """What a search may try of a setting is nothing."""

    search_space: ClassVar = {"recipe.batch_size": []}


class HasOneStageTwice(Sound):
    """Two stages share a name, and with it their seed."""

    def stages(self, epochs):
        return [Stage("train", 1), Stage("train", epochs)]


class ClassifiesOtherwise(Sound):
    """Reports classifier weights that are not the ones it predicts by."""

    def classify(self, features):
        return 2 * super().classify(features)


class LearnsNothing(Sound):
    """Its loss reaches no parameter."""

    def parameter_groups(self):
        return [{"params": [nn.Parameter(torch.zeros(3))]}]


class KnowsOneChoice(Sound):
    """One of the choices it offers does not exist."""

    def loss(self, batch):
        if self.params.reduction == "sum":
            raise NotImplementedError("sum")
        return super().loss(batch)


class Undocumented(Sound):
    __doc__ = None


class LooksLikeAMethod(SimpleNamespace):
    """Is no method."""
