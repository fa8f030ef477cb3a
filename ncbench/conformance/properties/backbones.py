"""Checks of backbones, on three small images or vectors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from ncbench.conformance.properties.common import (
    CHECKS_OF_CARDS,
    CHECKS_OF_PARAMETERS,
    require_same_in_any_batch,
    variants,
)
from ncbench.conformance.subject import ConformanceError, Property, Skipped, Subject, builds_on, require, saying
from ncbench.conformance.surroundings import no_files_left, require_unseeded
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.method import Backbone
from ncbench.training.seeding import seed_global_generators

INPUT_SHAPES = ((3, 32, 32), (3, 64, 64), (3, 224, 224), (8,))  # the first that the backbone takes is used
_NUMBER = 3  # images, or vectors


def gives_features(subject: Subject) -> None:
    """Colour and grey images, or vectors, become (N, feature_dim) finite features."""
    backbone, images = _built(subject)
    _features(backbone, images)
    if images.ndim > 2:
        grey = images[:, :1]
        _features(_build(subject, grey), grey)


def refuses_images_it_cannot_take(subject: Subject) -> None:
    """Tiny images, images that are no squares, two channels and vectors work, or a ConfigurationError refuses them."""
    for shape in ((3, 2, 2), (3, 9, 33), (2, 32, 32), (12,)):
        images = _images(*shape)
        try:
            backbone = _build(subject, images)
        except ConfigurationError:
            continue
        _features(backbone, images)


def trains_on_a_batch_of_one_image(subject: Subject) -> None:
    """In training a batch may hold a single image, and gradients reach the parameters."""
    backbone, images = _built(subject)
    if not any(True for _ in backbone.parameters()):
        raise Skipped("it has no parameters")
    backbone.train()(images[:1]).square().sum().backward()
    reached = any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in backbone.parameters())
    require(reached, "no parameter has a gradient")


def features_depend_on_the_image_alone(subject: Subject) -> None:
    """In evaluation mode an image has the same features again, in any batch, at any place in it."""
    backbone, images = _built(subject)
    before = images.clone()
    require_same_in_any_batch(lambda images: _features(backbone, images), images, "features", rtol=1e-3)
    require(torch.equal(before, images), "it changes the images in place")


def same_seed_same_weights(subject: Subject) -> None:
    """Initialisation follows from torch's global generator, and a state that is loaded gives the same features."""
    (first, images), (second, _), (other, _) = _built(subject), _built(subject), _built(subject, seed=1)
    for name, value in first.state_dict().items():
        require(torch.equal(value, second.state_dict()[name]), f"built twice with one seed, {name} differs")
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    same = torch.equal(_features(first, images), _features(other, images))
    require(same, "with another's state_dict it gives other features: what it needs belongs in there")


def builds_with_any_choice_of_parameters(subject: Subject) -> None:
    """Every named choice and every switch works, or says in one line what it needs."""
    for variant in variants(subject):
        with saying(f"as {variant.spec}"), contextlib.suppress(ConfigurationError, DataError):
            _features(*_built(variant))


def leaves_global_state_alone(subject: Subject) -> None:
    """It does not seed a global generator or change a setting of torch; drawing from them is fine."""
    require_unseeded(lambda seed: _features(*_built(subject, seed)))


def writes_no_files(subject: Subject) -> None:
    """It leaves nothing in the working, the home or the temporary folder."""
    with no_files_left():
        _features(*_built(subject))


CHECKS: Sequence[Property] = (
    *CHECKS_OF_CARDS,
    *CHECKS_OF_PARAMETERS,
    gives_features,
    *map(
        builds_on(gives_features),
        (
            refuses_images_it_cannot_take,
            trains_on_a_batch_of_one_image,
            features_depend_on_the_image_alone,
            same_seed_same_weights,
            builds_with_any_choice_of_parameters,
            leaves_global_state_alone,
            writes_no_files,
        ),
    ),
)


def _build(subject: Subject, images: Tensor, seed: int = 0) -> Backbone:
    seed_global_generators(seed)
    backbone: Backbone = subject.factory(tuple(images.shape[1:]), subject.params)
    return backbone


def _built(subject: Subject, seed: int = 0) -> tuple[Backbone, Tensor]:
    """Return the backbone for the first of the kit's images that it takes, and these images."""
    refusals = []
    for shape in INPUT_SHAPES:
        images = _images(*shape)
        try:
            return _build(subject, images, seed), images
        except ConfigurationError as error:
            refusals.append(str(error))
    raise ConformanceError(f"it refuses inputs of {', '.join(map(str, INPUT_SHAPES))}: {refusals[0]}")


def _images(*shape: int) -> Tensor:
    return torch.rand(_NUMBER, *shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _features(backbone: Backbone, images: Tensor) -> Tensor:
    """Return the features in evaluation mode.

    Raises:
        ConformanceError: They are not (N, feature_dim), or not finite.
    """
    backbone.eval()
    features: Tensor = backbone(images)
    where = f"for inputs of {tuple(images.shape)}"
    require(isinstance(features, Tensor), f"{where} it returns a {type(features).__name__}")
    shape = (len(images), backbone.feature_dim)
    require(features.shape == shape, f"{where} features are {tuple(features.shape)}, not {shape}")
    require(bool(torch.isfinite(features).all()), f"{where} features are not finite")
    return features
