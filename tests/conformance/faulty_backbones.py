"""A sound backbone, and backbones that break the contract in one way each."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ncbench import Backbone, ConfigurationError


class Sound(Backbone):
    """A convolution and an average."""

    feature_dim = 6

    def __init__(self, image_shape, params):
        super().__init__(image_shape, params)
        if min(image_shape[1:]) < 3:
            raise ConfigurationError("It needs images of at least 3 x 3 pixels.")
        self.convolution = nn.Conv2d(image_shape[0], 6, 3)

    def forward(self, images):
        return self.convolution(images).relu().mean(dim=(2, 3))


class NormalisesByTheBatch(Sound):
    """Uses the batch's statistics in evaluation too."""

    def forward(self, images):
        features = super().forward(images)
        return features - 0.5 * features.mean(dim=0)


class NeedsTwoImages(Sound):
    """Ends with BatchNorm, which needs two images."""

    def __init__(self, image_shape, params):
        super().__init__(image_shape, params)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, images):
        return self.norm(super().forward(images))


class FailsOnTinyImages(Sound):
    """Fails where it should refuse."""

    def __init__(self, image_shape, params):
        super().__init__((image_shape[0], 32, 32), params)


class DrawsFromTheSystem(Sound):
    """Its weights come from a generator that nobody seeded."""

    def __init__(self, image_shape, params):
        super().__init__(image_shape, params)
        self.scale = nn.Parameter(torch.from_numpy(np.random.default_rng().normal(size=6).astype(np.float32)))

    def forward(self, images):
        return self.scale * super().forward(images)


class SeedsTorch(Sound):
    """Always has the same weights."""

    def __init__(self, image_shape, params):
        torch.manual_seed(0)
        super().__init__(image_shape, params)
