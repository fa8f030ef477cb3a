"""The classifier frozen to SELI, against a singular value decomposition of the simplex-encoded labels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError
from ncbench_methods.frames.fixed_seli import FixedSELI


def toy_with(toy_of, counts):
    toy = toy_of(num_images=sum(counts), num_classes=len(counts))
    toy.target[:] = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return toy


def textbook_gram(counts):
    """V L V^T of Z = (I - J/K) Y = V L U^T."""
    k = len(counts)
    labels = torch.eye(k, dtype=torch.float64).repeat_interleave(torch.tensor(counts), dim=1)  # (K, N)
    v, singular, _ = torch.linalg.svd(labels - 1 / k, full_matrices=False)
    return v @ torch.diag(singular) @ v.T


@pytest.mark.parametrize(
    ("counts", "feature_dim", "dim"),
    [([30, 10, 2], 7, 7), ([9, 7, 5, 3, 2, 2, 1, 1], 7, 7), ([5, 4, 3, 2, 2, 2, 1, 1, 1], 7, 9)],
)
def test_the_classifier_has_the_seli_gram_at_unit_mean_square_length(toy_of, make, counts, feature_dim, dim):
    method = make(FixedSELI, toy_with(toy_of, counts), feature_dim=feature_dim, scale=3.0)
    gram = textbook_gram(counts)
    assert method.frame.shape == (len(counts), dim)
    torch.testing.assert_close(
        method.frame @ method.frame.T, 9 * gram * len(counts) / gram.trace(), atol=1e-5, rtol=1e-6
    )
    assert "frame" not in dict(method.named_parameters())
    assert method.classifier_parameters()[1] is None


def test_equal_counts_give_a_simplex_etf_of_unit_rows(toy, make):
    method = make(FixedSELI, toy)
    torch.testing.assert_close(method.frame @ method.frame.T, torch.eye(3).double() * 1.5 - 0.5, atol=1e-6, rtol=0)


def test_step_imbalance_gives_the_published_cosines(toy_of, make):
    toy = toy_with(toy_of, [10] * 5 + [1] * 5)
    frame = F.normalize(make(FixedSELI, toy, feature_dim=12).frame, dim=1)
    cosines = frame @ frame.T
    measured = [cosines[0, 1].item(), cosines[5, 6].item(), cosines[0, 5].item()]  # frequent, rare, across
    assert measured == pytest.approx([-0.143953, 0.033369, -0.138681], abs=1e-6)


def test_frequent_classes_have_the_longer_rows(toy_of, make):
    lengths = make(FixedSELI, toy_with(toy_of, [30, 10, 2])).frame.norm(dim=1).tolist()
    assert lengths == sorted(lengths, reverse=True)


def test_the_loss_is_cross_entropy_of_normalised_features(toy_of, make):
    toy = toy_with(toy_of, [30, 10, 2])
    method = make(FixedSELI, toy)
    batch = toy.batch(bias=False)
    h = method.backbone(batch.images)
    h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()
    expected = F.cross_entropy(h @ method.frame.T, batch.target)
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_of_one_image_trains_on_the_running_statistics(toy, make):
    method = make(FixedSELI, toy, norm=False)
    method(toy.images)
    before = method.norm.running_mean.clone()
    one = toy.batch(torch.tensor([2]), bias=False)
    method.loss(one).backward()
    assert torch.equal(method.norm.running_mean, before)
    torch.testing.assert_close(method.features(one.images), method.eval().features(one.images))


def test_a_class_without_training_images_is_refused_by_name(toy, make):
    toy.target[toy.target == 1] = 0
    with pytest.raises(ConfigurationError, match="'class 1' has none"):
        make(FixedSELI, toy)


def test_the_frame_depends_on_the_seed_alone(toy, make):
    frames = [make(FixedSELI, toy, seed=s, global_seed=g).frame for s, g in ((0, 1), (0, 2), (1, 1))]
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])
