"""Shortcut primes: fixed stand-ins for the bias attribute, taken away at test time (ETF-Debias)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, ConfigurationError, LogUniform, Method, Parameters, Published, SplitView, Stage, Supervision
from ncbench.geometry import simplex_etf
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.published_recipes import WANG_COLORED_MNIST, WANG_CORRUPTED_CIFAR10
from ncbench_methods.search_spaces import LARGE_STEPS


class ShortcutPrimeParameters(Parameters):
    """Parameters of :class:`ShortcutPrime`."""

    clean_weight: float = Field(
        0.8, ge=0, description="weight lambda of the term that ties what the prime adds to the clean logits to the bias"
    )
    bias: Literal["attribute", "pseudo"] = Field(
        "attribute", description="b: the labelled attribute, or the predictions of a biased network trained first"
    )
    pseudo_epochs: int = Field(5, ge=1, description="epochs of the biased network (bias=pseudo)")
    q: float = Field(0.7, gt=0, le=1, description="exponent of its generalised cross-entropy (bias=pseudo)")


class ShortcutPrime(Method):
    """Learn beside a ready-made shortcut (Wang et al., CVPR 2024, section 4).

    The primes e_1..e_B, one for each value of the bias attribute, are a frozen simplex ETF. A linear classifier
    without bias reads [h, e_b], and the loss is eq. 9's, in the form of the published code:

        CE(logit(h, e_b), y) + lambda CE(logit(h, e_b) - logit(h, 0), b).

    At test time the prime is zero. With W = [W_h, W_prime], logit(h, e_b) - logit(h, 0) = W_prime e_b: the second
    term is a B x K table that involves neither h nor the backbone, and logit(h, e_b) = W_h h + W_prime e_b. One
    forward pass therefore gives the loss and the gradient of the published two. One difference remains: the running
    statistics of a backbone's BatchNorm are updated once a step here, and twice, by the same batch, in two passes.

    The primes have the dimension of h, as published, or B where h has fewer than B - 1 dimensions. The second term
    needs a class for each b: the class y whose training images carry b most often, argmax_y n(y, b) / n(y). On the
    published datasets that is the class of b's own index; on CelebA, blond hair is that of the value "not male". Where
    B = K and two values would share a class, each has that of its own index, as in the published code.

    `bias=pseudo` is for training images without the attribute. (b := y would be degenerate: the primes alone explain
    y and the backbone gets no gradient.) A first stage trains the network with generalised cross-entropy, which
    favours the shortcut (Nam et al., NeurIPS 2020, section 3.2), takes its predictions on the training images as b,
    and starts from scratch; B = K. If that network also fits the images without the shortcut, b turns into y: train
    it for few epochs.

    A search tries weights lambda from 0.1 to 3, which is this project's choice.

    Supervision: the bias attribute of training images; none with `bias=pseudo`.
    """

    Parameters = ShortcutPrimeParameters
    primes: Tensor
    class_of_bias: Tensor
    pseudo_bias: Tensor
    alternative = "Run shortcut_prime:bias=pseudo, which infers it."
    search_space: ClassVar = {**LARGE_STEPS, "method.clean_weight": LogUniform(0.1, 3)}
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Wang et al. (CVPR 2024), section 5.1 and the published code",
            parameters={"clean_weight": 0.8},
            recipe=WANG_COLORED_MNIST,
        ),
        "corrupted_cifar10": Published(
            source="Wang et al. (CVPR 2024), the published code's settings for type 0",
            parameters={"clean_weight": 0.8},
            recipe=WANG_CORRUPTED_CIFAR10,
            backbone="resnet20:classifier=he",
        ),
    }

    @classmethod
    def supervision(cls, params: ShortcutPrimeParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing for pseudo attributes."""
        return Supervision() if params.bias == "pseudo" else declared

    def build(self) -> None:
        """Create the backbone, the classifier of [h, e_b] and the frozen primes."""
        task = self.task
        self.pseudo = self.params.bias == "pseudo"
        num_bias = task.num_classes if self.pseudo else task.num_bias
        if num_bias < 2:
            raise ConfigurationError(f"shortcut_prime needs a bias attribute of at least 2 values, not {num_bias}.")

        self.backbone = self.make_backbone()
        d = self.backbone.feature_dim
        prime_dim = d if d >= num_bias - 1 else num_bias
        self.classifier = nn.Linear(d + prime_dim, task.num_classes, bias=False)
        self.backbone.init_classifier(self.classifier)
        primes = simplex_etf(num_bias, prime_dim, generator=task.generator("primes"))
        self.register_buffer("primes", primes.to(self.classifier.weight))  # (B, prime_dim)
        class_of_bias = torch.arange(num_bias)
        if not self.pseudo:
            counts = task.group_counts.cpu()  # (K, B)
            carriers = (counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).argmax(dim=0)
            if num_bias != task.num_classes or len(set(carriers.tolist())) == num_bias:
                class_of_bias = carriers
        self.register_buffer("class_of_bias", class_of_bias)  # (B,)
        if self.pseudo:
            self.register_buffer("pseudo_bias", torch.zeros(task.num_train, dtype=torch.int64))  # (N,)

    # Training

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training, after that of the biased network where one is needed."""
        training = Stage("train", epochs)
        return [Stage("identify", self.params.pseudo_epochs), training] if self.pseudo else [training]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the training proper, let the biased network tell b and start from scratch."""
        if self.pseudo and stage.name == "train":
            pseudo_bias = self._predictions(train)
            self.build()
            self.pseudo_bias = pseudo_bias

    @torch.no_grad()
    def _predictions(self, train: SplitView) -> Tensor:
        self.eval()
        return torch.cat([self(batch.images).argmax(dim=1) for batch in train.batches()])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy beside the primes, and that of the primes alone."""
        clean = self(batch.images)  # logit(h, 0)
        if self.progress.stage == "identify":
            return {"biased": generalized_cross_entropy(clean, batch.target, self.params.q).mean()}
        b = self.pseudo_bias[batch.index] if self.pseudo else batch.bias
        added = F.linear(self.primes, self.prime_weight)[b]  # W_prime e_b = logit(h, e_b) - logit(h, 0)
        return {
            "prime": F.cross_entropy(clean + added, batch.target),
            "clean": self.params.clean_weight * F.cross_entropy(added, self.class_of_bias[b]),
        }

    # Prediction: the prime is zero

    @property
    def feature_weight(self) -> Tensor:
        """W_h, the classifier's part on the features: (K, d)."""
        return self.classifier.weight[:, : self.backbone.feature_dim]

    @property
    def prime_weight(self) -> Tensor:
        """W_prime, the classifier's part on the primes: (K, prime_dim)."""
        return self.classifier.weight[:, self.backbone.feature_dim :]

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits without a prime: (N, d) -> (N, K)."""
        return F.linear(features, self.feature_weight)

    def classifier_parameters(self) -> tuple[Tensor, None]:
        """Return W_h, which is all that acts at test time."""
        return self.feature_weight, None
