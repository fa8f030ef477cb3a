"""The contracts of a training method and of the backbones it asks for.

The runner knows nothing of any particular method. It builds the method, asks it for its stages, and in each stage's
epochs takes the training images in the method's order, minimises the method's loss and evaluates its ``forward``.
Whatever else a method needs it keeps to itself: frozen classifiers and group weights are buffers, second networks are
submodules, state a training image is a buffer of N entries; all of it travels with ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ncbench.contracts.cards import Published, Supervision
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.parameters import LogUniform, Parameters, Values
from ncbench.contracts.task import Batch, Groups, Progress, SplitView, Task


@dataclass(frozen=True)
class WeightsFile:
    """A file of pretrained weights: where it belongs on this machine, and where it comes from.

    Args:
        path: Where the backbone reads it.
        url: Its address, over http or https.
        sha256: The hexadecimal digits that its SHA-256 begins with, as many as are published.
    """

    path: Path
    url: str
    sha256: str


class Backbone(nn.Module):
    """A feature extractor: (N, C, H, W) float images -> (N, feature_dim) penultimate features.

    Subclasses set `feature_dim` in their constructor and implement ``forward``. One that takes (N, D) float feature
    vectors, too or instead, says so by `takes_vectors`.

    Args:
        input_shape: (C, H, W) of the images it will see, or (D,) of the feature vectors.
        params: Validated parameters.

    Raises:
        ConfigurationError: It is given feature vectors, and takes none.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    takes_vectors: ClassVar[bool] = False

    feature_dim: int

    def __init__(self, input_shape: tuple[int, ...], params: Any) -> None:
        super().__init__()
        if len(input_shape) == 1 and not self.takes_vectors:
            raise ConfigurationError(
                f"{type(self).__name__} takes images, and the inputs of this dataset are vectors of {input_shape[0]} "
                "values. Use --backbone mlp, or another one that takes vectors."
            )
        self.input_shape = input_shape
        self.params = params

    @classmethod
    def input_scaling(cls, params: Any) -> str | None:
        """Return the ``recipe.input_scaling`` that weights with these parameters were trained with.

        It then takes the place of every other default, and no other is accepted. None, the default, accepts any.
        """
        return None

    @classmethod
    def weights_file(cls, params: Any) -> WeightsFile | None:
        """Return the file that ``ncbench backbones fetch`` brings; None, the default, if these parameters need none.

        That command alone asks, never a run, so that its address and its hash may be looked up on the network.
        """
        return None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The same as `input_shape`, which was called so before there were feature vectors."""
        return self.input_shape

    def init_classifier(self, classifier: nn.Linear) -> None:
        """Draw the weights of a linear classifier on the features, where the network prescribes them.

        Default: leave them as PyTorch draws them.
        """


@dataclass(frozen=True)
class Stage:
    """A part of the training with an optimizer and a learning-rate schedule of its own.

    Args:
        name: Shown in the history, for example ``"identify"``.
        epochs: How many epochs it takes.
        continues: Whether the optimizer and the schedule go on from the stage before, as in one training of both
            lengths; what changes is the method's own, and the ``"lr_scale"`` of its parameter groups.
    """

    name: str
    epochs: int
    continues: bool = False


class Method(nn.Module):
    """A training method.

    Every method implements :meth:`loss`. The defaults make it a backbone with a linear classifier, trained in one
    stage on the training images in random order; override what differs.

    Args:
        task: The problem, without the labels the method did not declare.
        params: Validated parameters.
        make_backbone: Creates a freshly initialised backbone each time it is called: the run's, or one of another spec,
            as in ``make_backbone("small_cnn")``.

    Attributes:
        progress: Where the run is. The runner keeps it: it is up to date whenever it calls the method.
        report: Numbers that the method wants in the record, by name, such as what a search of its own has chosen;
            read after :meth:`finish`.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    published: ClassVar[Mapping[str, Published]] = {}
    """Dataset name -> published settings."""
    search_space: ClassVar[Mapping[str, Values]] = {
        "recipe.lr": LogUniform(1e-4, 1e-2),
        "recipe.weight_decay": LogUniform(1e-6, 1e-3),
    }
    """What a search over hyper-parameters tries where it names no space of its own: ``"method.KEY"`` or
    ``"recipe.KEY"`` -> choices or bounds; ``{**Method.search_space, "method.KEY": ...}`` adds to it. By default the
    space of every method in SubpopBench (Yang et al., ICML 2023; its hyper-parameters for images)."""
    views: ClassVar[int] = 1
    """Augmentations of every training image in a batch, drawn independently; they are ``batch.views``."""
    alternative: ClassVar[str] = ""
    """What to use where labels that it needs are unknown: the last sentence of the refusal."""
    learns_features: ClassVar[bool] = False
    """Whether it acts on features that the backbone learns, and is nothing, or another method, where they are given.

    It is then refused beside a frozen backbone, and one without parameters."""
    consumes_groups: ClassVar[bool] = False
    """Whether `--groups` may give it inferred groups in the place of the bias attribute.

    They are then what `bias`, `num_bias`, `bias_names` and `group_counts` of task, splits and batches are of: there may
    be another number of them than attribute values, and those of one class need have nothing to do with those of
    another. Groups (target, bias) may be empty. Such a run uses the labels that the inference used, and no others."""

    def __init__(self, task: Task, params: Any, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__()
        self.task = task
        self.params = params
        self.make_backbone = make_backbone
        self.progress = Progress()
        self.report: dict[str, float] = {}
        if not task.has_val and (refusal := self.without_val(params)):
            raise ConfigurationError(refusal)
        self.build()

    @classmethod
    def supervision(cls, params: Any, declared: Supervision) -> Supervision:
        """Return what a method with these parameters uses; never more than its card declares."""
        return declared

    @classmethod
    def base(cls, params: Any) -> str | None:
        """Return the spec of the method whose finished run one with these parameters builds on; None if it needs none.

        That is a run like any other, on the same dataset, with the same backbone and seed. It is made first where it is
        missing, and shared by all runs that build on it.
        """
        return None

    @classmethod
    def without_val(cls, params: Any) -> str:
        """Return why one with these parameters is refused where there are no validation images, and what to do.

        Empty, the default, where it can do without. Of a method whose supervision names their bias attribute the runner
        says so by itself.
        """
        return ""

    def build(self) -> None:
        """Create the modules from scratch. A method that retrains calls this again at the start of a stage."""
        self.backbone = self.make_backbone()
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes)
        self.backbone.init_classifier(self.classifier)

    # Training

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the stages; `epochs` is the recipe's number. The model is selected among the last one's epochs.

        A method that builds on another run may have none: it fits what it fits in :meth:`finish`.
        """
        return [Stage("train", epochs)]

    def start_from(self, base: Method) -> None:
        """Take over what the base has learned, before the first stage. Default: its backbone.

        Args:
            base: The finished method, in evaluation mode; it is thrown away afterwards.
        """
        self.backbone.load_state_dict(base.backbone.state_dict())

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Prepare for `stage`: score the training images, build new modules, fill buffers. Default: nothing.

        Called in evaluation mode, as :meth:`finish` is.
        """

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor | Sequence[Tensor]:
        """Return the training images of one epoch.

        Either as (M,) int64 positions, of which consecutive runs of the recipe's length are batches; or as the batches
        themselves, each (B,) int64. The default visits each image once in random order. Draw from `generator` (on the
        CPU) alone.
        """
        return torch.randperm(len(train), generator=generator)

    def loss(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Return the scalar to minimise, or its named terms, which the runner adds up and logs.

        No term is called ``"loss"``, which is the name of their sum.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement loss(batch).")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; a group's ``"lr_scale"`` multiplies the recipe's learning rate."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Fit what is fitted after training, on the selected model. Default: nothing.

        Metrics of validation images are marked in the record as of images that it was fitted on, once it has read any
        of them or of their labels, here or in :meth:`start_stage`.
        """

    # Prediction

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features: (N, C, H, W) -> (N, d)."""
        features: Tensor = self.backbone(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits: (N, d) -> (N, K)."""
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits: (N, C, H, W) -> (N, K).

        Always ``classify(features(images))``, so that one pass gives predictions and features; override those two.
        """
        return self.classify(self.features(images))

    def classifier_parameters(self) -> tuple[Tensor, Tensor | None] | None:
        """Return the classifier's weight (K, d) and bias (K,) in the space of :meth:`features`, for NC2 to NC4.

        Returns:
            The pair, with None for a classifier without bias; None if the classifier is not linear.
        """
        if isinstance(self.classifier, nn.Linear):
            return self.classifier.weight, self.classifier.bias
        return None


class GroupInference(Method):
    """A way to infer groups: a method that ends with the groups of the training images.

    It is trained as any method is, on a run of its own, which every run that trains on its groups builds on. One that
    trains nothing has no stages.
    """

    published_with: ClassVar[Mapping[str, Mapping[str, Published]]] = {}
    """Method name -> dataset name -> the settings that its source publishes for that method on these groups.

    They take the place of those that the method has for the dataset by itself."""

    @classmethod
    def annotates_val(cls, params: Any) -> bool:
        """Return whether one with these parameters gives the groups of the validation images too. Default: no."""
        return False

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the groups; called once, after :meth:`finish`, in evaluation mode.

        Args:
            train: The training images.
            val: The validation images; None where there are none.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement infer(train, val).")


def refuse_missing_labels(
    method: type[Method], name: str, supervision: Supervision, *, train: bool, val: bool, hierarchy: bool
) -> None:
    """Refuse a dataset that does not have the labels that a method declares.

    Args:
        method: Its class.
        name: What the user calls it.
        supervision: What it uses.
        train: Whether the bias attribute of training images is known.
        val: Whether that of validation images is.
        hierarchy: Whether the classes have a hierarchy.

    Raises:
        ConfigurationError: Something is missing; the message says what to use instead.
    """
    alternative = method.alternative or "Choose a method that needs none: ncbench list methods."
    for split, known in (("train", train), ("val", val)):
        if getattr(supervision, split) == "bias" and not known:
            images = {"train": "training", "val": "validation"}[split]
            raise ConfigurationError(
                f"{name} needs the bias attribute of the {images} images, and this dataset has none. {alternative}"
            )
    if supervision.hierarchy and not hierarchy:
        raise ConfigurationError(f"{name} needs a class hierarchy, and this dataset has none. {alternative}")


def require_bias_labels(task: Task, method: str, alternative: str) -> None:
    """Refuse a task whose training images carry no bias attribute; the runner does so by itself for what is declared.

    Raises:
        ConfigurationError: The attribute is unknown; the message says what to use instead.
    """
    if not task.bias_known_on_train:
        raise ConfigurationError(
            f"{method} needs the bias attribute of the training images, and this dataset has none. {alternative}"
        )
