"""The corruptions one by one, against closed forms, Pillow, scipy and the definitions written out a pixel at a time."""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ncbench_datasets.made import corruptions
from ncbench_datasets.made.corruptions import CORRUPTIONS, blur, corrupt, digital, noise, weather

SEVERITIES = range(1, 6)
MONOTONE = (
    "gaussian noise",
    "shot noise",
    "impulse noise",
    "speckle noise",
    "gaussian blur",
    "defocus blur",
    "motion blur",
    "zoom blur",
    "snow",
    "fog",
    "brightness",
    "contrast",
    "jpeg",
    "pixelate",
)  # of the others, a higher severity changes something else than how much


def _pictures(number: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(generator.normal(size=(number, 32, 32, 3)), (0, 2, 2, 0))
    shifted = smooth * 350 + 120 + generator.normal(0, 40, (number, 1, 1, 3))
    return np.clip(shifted, 0, 255).astype(np.uint8)


PICTURES = _pictures(24)


def _apply(name: str, severity: int, images: np.ndarray = PICTURES, split: str = "train") -> np.ndarray:
    return corrupt(images, name, severity, split, range(len(images)))


def _streams(number: int = len(PICTURES)) -> list[np.random.RandomState]:
    """The streams that images 0, 1, ... of the training split have."""
    return [np.random.RandomState(np.random.Philox(key=[0, row])) for row in range(number)]


def _flat(level: int, number: int = 40) -> np.ndarray:
    return np.full((number, 32, 32, 3), level, dtype=np.uint8)


def _close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Compare grey levels with values in 0..255 whose fractions are to be cut off."""
    difference = np.clip(theirs, 0, 255) - ours
    assert difference.min() > -1e-3
    assert difference.max() < 1 + 1e-3


# ---------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_an_images_corruption_depends_on_its_place_in_its_split_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _apply(name, 5)
    assert whole.dtype == np.uint8
    assert whole.shape == PICTURES.shape
    rows = [17, 3, 4]
    np.testing.assert_array_equal(corrupt(PICTURES[rows], name, 5, "train", rows), whole[rows])
    monkeypatch.setattr(corruptions, "_CHUNK", 7)
    np.testing.assert_array_equal(_apply(name, 5), whole)


@pytest.mark.parametrize(
    "name",
    [
        "gaussian noise",
        "shot noise",
        "impulse noise",
        "speckle noise",
        "glass blur",
        "snow",
        "fog",
        "spatter",
        "elastic",
    ],
)
def test_other_places_and_splits_draw_other_numbers(name: str) -> None:
    twice = np.repeat(PICTURES[:1], 2, axis=0)
    first, second = _apply(name, 5, twice)
    assert (first != second).any()
    assert (_apply(name, 5, twice, split="test")[0] != first).any()


@pytest.mark.parametrize("name", MONOTONE)
def test_a_higher_severity_changes_more(name: str) -> None:
    distances = [np.abs(_apply(name, severity).astype(int) - PICTURES).mean() for severity in SEVERITIES]
    assert distances[0] > 0
    assert np.diff(distances).min() > -0.05 * distances[0]
    assert distances[4] > 1.5 * distances[0]


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_black_and_white_images_are_no_special_case(name: str) -> None:
    for level in (0, 255):
        assert _apply(name, 5, _flat(level, 2)).shape == (2, 32, 32, 3)


def test_the_original_is_left_alone() -> None:
    np.testing.assert_array_equal(_apply("original", 5), PICTURES)


@pytest.mark.parametrize(
    ("images", "severity"), [(PICTURES[:, :31], 1), (PICTURES / 255, 1), (PICTURES, 0), (PICTURES, 6)]
)
def test_what_is_not_defined_is_refused(images: np.ndarray, severity: int) -> None:
    with pytest.raises(ValueError, match="severity"):
        corrupt(images, "fog", severity, "train", range(len(images)))


# ---------------------------------------------------------------- noise: 120,000 values each


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_published_strength(severity: int) -> None:
    grey = _flat(102)  # 0.4, far from either end
    for name, sigma in (
        ("gaussian noise", (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]),
        ("speckle noise", 0.4 * (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]),
    ):
        values = _apply(name, severity, grey) / 255
        assert values.mean() == pytest.approx(0.4 - 0.5 / 255, abs=0.001)  # fractions are cut off
        assert values.std() == pytest.approx(sigma, rel=0.015)
    # Of shot noise, the variance is the mean over the photons; they come in steps that are cut off to grey levels.
    photons = (500, 250, 100, 75, 50)[severity - 1]
    counts = np.random.default_rng(0).poisson(0.4 * photons, 400_000)
    assert (counts / photons).var() == pytest.approx(0.4 / photons, rel=0.01)
    values, expected = _apply("shot noise", severity, grey), np.floor(255 * counts / photons + 1e-6)
    assert values.mean() == pytest.approx(expected.mean(), abs=0.3)
    assert values.std() == pytest.approx(expected.std(), rel=0.015)


def test_shot_noise_comes_in_whole_photons() -> None:
    for severity in SEVERITIES:
        photons = noise.SHOT_PHOTONS[severity - 1]
        levels = {int(255 * count / photons + 1e-6) for count in range(photons + 1)}
        assert set(np.unique(_apply("shot noise", severity)).tolist()) <= levels


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_are_black_or_white(severity: int) -> None:
    values = _apply("impulse noise", severity, _flat(102))
    assert set(np.unique(values)) == {0, 102, 255}
    share = noise.IMPULSE_SHARE[severity - 1]
    assert (values == 0).mean() == pytest.approx(share / 2, rel=0.1)
    assert (values == 255).mean() == pytest.approx(share / 2, rel=0.1)


# ---------------------------------------------------------------- blur


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_is_a_gaussian(severity: int) -> None:
    sigma = blur.GAUSSIAN_SIGMA[severity - 1]
    reach = int(4 * sigma + 0.5)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    padded = np.pad(PICTURES.astype(float), ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    rows = sum(w * padded[:, i : i + 32] for i, w in enumerate(taps))
    _close(_apply("gaussian blur", severity), sum(w * rows[:, :, i : i + 32] for i, w in enumerate(taps)))


def test_defocus_kernels_are_softened_disks() -> None:
    for radius, sigma in blur.DEFOCUS:
        kernel = blur.disk(radius, sigma)
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel[::-1])
        np.testing.assert_allclose(kernel, kernel.T)
    edge = math.exp(-1 / (2 * 0.5**2))  # a disk of one pixel is the softening itself: (e, 1, e) in either direction
    np.testing.assert_allclose(blur.disk(0.4, 0.5)[2, 1:4], np.array([edge, 1, edge]) / (1 + 2 * edge) ** 2)
    wide = blur.disk(1.5, 0.1)  # hardly softened: nine pixels alike
    np.testing.assert_allclose(wide[1:4, 1:4], 1 / 9)


def test_defocus_blur_mirrors_the_image_at_its_edges() -> None:
    kernel = blur.disk(*blur.DEFOCUS[4])
    padded = np.pad(PICTURES.astype(float), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = sum(kernel[i, j] * padded[:, i : i + 32, j : j + 32] for i in range(5) for j in range(5))
    _close(_apply("defocus blur", 5), expected)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_glass_blur_copies_neighbours_as_published(severity: int) -> None:
    sigma, reach, passes = blur.GLASS[severity - 1]
    ours = _apply("glass blur", severity)
    for index, stream in enumerate(_streams(6)):
        blurred = ndimage.gaussian_filter(PICTURES[index] / 255, (sigma, sigma, 0), mode="nearest") * 255
        pixels = (blurred + 1e-6).astype(np.uint8)
        size = 32 - 2 * reach
        offsets = stream.randint(-reach, reach, (passes, size, size, 2))
        for turn in range(passes):
            for i, row in enumerate(range(32 - reach, reach, -1)):
                for j, column in enumerate(range(32 - reach, reach, -1)):
                    across, down = offsets[turn, i, j]
                    assert -reach <= across <= 0
                    pixels[row, column] = pixels[row + down, column + across]
        _close(ours[index], ndimage.gaussian_filter(pixels / 255, (sigma, sigma, 0), mode="nearest") * 255)


def test_motion_blur_leaves_a_half_gaussian_trail() -> None:
    dot = np.zeros((4, 41, 41, 1), dtype=np.uint8)
    dot[:, 20, 20] = 255
    trails = blur.along_lines(dot, 6, 2, np.array([0.0, 90.0, -90.0, 45.0]))[..., 0]
    taps = np.exp(-(np.arange(13) ** 2) / 8)
    levels = np.floor(np.rint(65535 * taps / taps.sum()) / 257)  # of 65535 steps, cut off to 255
    # A pixel takes from those ahead of it, so the trail lies behind the dot.
    np.testing.assert_array_equal(trails[0, 20, 20:7:-1], levels)
    np.testing.assert_array_equal(trails[1, 20:7:-1, 20], levels)
    np.testing.assert_array_equal(trails[2, 20:33, 20], levels)
    np.testing.assert_array_equal(trails[:3].sum(axis=(1, 2)), levels.sum())
    diagonal = trails[3, np.arange(20, 10, -1), np.arange(20, 10, -1)]
    assert diagonal.sum() == trails[3].sum() == pytest.approx(255, abs=len(diagonal))


def test_motion_blur_cuts_fractions_off() -> None:
    halves = np.tile(np.array([10, 11], dtype=np.uint8)[None, None, :, None], (1, 32, 16, 3))
    blurred = blur.along_lines(halves, 9, 100, np.zeros(1))  # hardly a Gaussian: 10.5 wherever it meets both
    assert (blurred[:, :, :13] == 10).all()


def test_motion_blur_goes_on_with_the_outermost_pixels() -> None:
    np.testing.assert_array_equal(_apply("motion blur", 5, _flat(77)), _flat(77))


@pytest.mark.parametrize("factor", [1.0, 1.03, 1.11, 1.25, 1.75, 2.25])
def test_an_enlargement_is_scipys(factor: float) -> None:
    kept = math.ceil(32 / factor)
    first = (32 - kept) // 2
    ours = blur.enlarged(PICTURES.astype(float), factor)
    for image, larger in zip(PICTURES[:4].astype(float), ours, strict=False):
        zoomed = ndimage.zoom(image[first : first + kept, first : first + kept], (factor, factor, 1), order=1)
        trim = (len(zoomed) - 32) // 2
        np.testing.assert_allclose(larger, zoomed[trim : trim + 32, trim : trim + 32], atol=1e-9)


def test_zoom_blur_is_the_mean_of_the_image_and_its_enlargements() -> None:
    factors = np.arange(1, 1.26, 0.01)  # severity 5; as published, the last one is a hair above 1.25
    assert len(factors) == 26
    x = PICTURES.astype(float)
    _close(_apply("zoom blur", 5), (x + sum(blur.enlarged(x, factor) for factor in factors)) / 27)


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_are_those_of_hsv(severity: int) -> None:
    some = [(0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 0), (10, 200, 30), (120, 119, 118), (0, 0, 7)]
    some += [tuple(pixel) for pixel in PICTURES[0, 5, :20].tolist()]
    images = np.tile(np.array(some, dtype=np.uint8), (1, 32, 32, 1))[:, :, :32][:, :32]
    factor, summand = digital.SATURATION[severity - 1]
    brighter, other = _apply("brightness", severity, images), _apply("saturate", severity, images)
    for column in range(len(some)):
        h, s, v = colorsys.rgb_to_hsv(*(images[0, 0, column] / 255))
        raised = min(1, v + digital.BRIGHTNESS[severity - 1])
        _close(brighter[0, 0, column], 255 * np.array(colorsys.hsv_to_rgb(h, s, raised)))
        changed = min(1, max(0, s * factor + summand))
        _close(other[0, 0, column], 255 * np.array(colorsys.hsv_to_rgb(h, changed, v)))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_shrinks_around_the_mean_of_each_channel(severity: int) -> None:
    share = digital.CONTRAST[severity - 1]
    for image, changed in zip(PICTURES.astype(float), _apply("contrast", severity), strict=True):
        for channel in range(3):
            mean = image[:, :, channel].mean()
            _close(changed[:, :, channel], share * image[:, :, channel] + (1 - share) * mean)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_and_pixelate_are_pillows(severity: int) -> None:
    quality = (80, 65, 58, 50, 40)[severity - 1]
    side = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    compressed, coarse = _apply("jpeg", severity), _apply("pixelate", severity)
    for index, pixels in enumerate(PICTURES[:5]):
        image, encoded = Image.fromarray(pixels), io.BytesIO()
        image.save(encoded, "JPEG", quality=quality)
        np.testing.assert_array_equal(compressed[index], np.asarray(Image.open(encoded)))
        small = image.resize((side, side), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
        np.testing.assert_array_equal(coarse[index], np.asarray(small))


# ---------------------------------------------------------------- elastic


def test_images_are_looked_up_as_scipy_does() -> None:
    generator = np.random.default_rng(0)
    rows, columns = generator.uniform(-5, 37, (2, 3, 32, 32))
    ours = digital.sampled(PICTURES[:3].astype(float), rows, columns)
    for index in range(3):
        for channel in range(3):
            theirs = ndimage.map_coordinates(
                PICTURES[index, :, :, channel].astype(float), (rows[index], columns[index]), order=1, mode="mirror"
            )
            np.testing.assert_allclose(ours[index, :, :, channel], theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("place", "expected"),  # on a line of 10, 20, 30, ...
    [
        (0.0, 10), (3.25, 42.5), (31.0, 320),
        (-0.25, 17.5),  # not 10, nor 12.5: folded about the edge, then once more about the outermost pixel
        (-1.0, 10), (-1.25, 12.5), (-2.5, 25),  # further out, about the edge alone
        (31.25, 317.5), (32.0, 320), (32.75, 312.5),
    ],
)  # fmt: skip
def test_beyond_its_edges_an_image_is_folded_back_as_old_scipy_did(place: float, expected: float) -> None:
    line = np.tile(np.arange(10.0, 330, 10)[None, None, :, None], (1, 32, 1, 1))
    where = digital.reflected(np.full((1, 32, 32), place))
    np.testing.assert_allclose(digital.sampled(line, np.zeros((1, 32, 32)), where), expected)


def test_without_displacements_elastic_is_an_affine_map_in_steps_of_a_32nd() -> None:
    astray = digital.ELASTIC[0][2]
    ours = _apply("elastic", 1)
    pixels = [(row, column) for row in range(32) for column in range(32)]
    for index, stream in enumerate(_streams(4)):
        moves = stream.uniform(-astray, astray, (3, 2)).astype(np.float32)  # of three points (x, y)
        corners = np.array([[26, 26], [26, 6], [6, 6]], dtype=np.float32)
        # matrix @ (x, y, 1) is where the pixel (x, y) of the result comes from
        matrix = corners.T @ np.linalg.inv(np.vstack([(corners + moves).T, np.ones(3)]))
        x, y = (  # OpenCV's whole numbers, a pixel at a time
            np.array(
                [(round(1024 * (b * row + c)) + round(1024 * a * column) + 16) // 32 / 32 for row, column in pixels]
            )
            for a, b, c in matrix.tolist()
        )
        for channel in range(3):
            plane = PICTURES[index, :, :, channel].astype(float)
            theirs = ndimage.map_coordinates(plane, (y, x), order=1, mode="mirror").reshape(32, 32)
            _close(ours[index, :, :, channel], theirs)


def test_elastic_displaces_by_at_most_its_size() -> None:
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[None, None, :, None], (20, 32, 1, 3))
    for severity in (4, 5):
        size, _, astray = digital.ELASTIC[severity - 1]
        moved = np.abs(_apply("elastic", severity, ramp)[:, 8:24, 8:24].astype(int) - ramp[:, 8:24, 8:24]) / 8
        assert moved.max() <= size + 3 * astray + 1 / 8
        assert moved.mean() > 0.1


# ---------------------------------------------------------------- weather


def _diamond_square(uniform: np.ndarray, decay: float) -> np.ndarray:
    """The clouds of one image, a pixel at a time."""
    field, numbers = np.zeros((32, 32)), iter(uniform)
    step, roughness = 32, 100.0
    while step >= 2:
        half = step // 2

        def fill(places: list[tuple[int, int]], offsets: list[tuple[int, int]], roughness: float = roughness) -> None:
            for row, column in places:
                around = [field[(row + down) % 32, (column + across) % 32] for down, across in offsets]
                field[row, column] = sum(around) / 4 + roughness**2 * next(numbers)

        grid = range(0, 32, step)
        diagonal = [(down, across) for down in (-half, half) for across in (-half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        fill([(row + half, column + half) for row in grid for column in grid], diagonal)
        fill([(row, column + half) for row in grid for column in grid], straight)
        fill([(row + half, column) for row in grid for column in grid], straight)
        step, roughness = half, roughness / decay
    field -= field.min()
    return field / field.max()


@pytest.mark.parametrize("decay", [3, 1.75])
def test_clouds_are_those_of_the_diamond_square_algorithm(decay: float) -> None:
    uniform = np.random.default_rng(0).uniform(-1, 1, (3, 1023))
    clouds = weather.plasma(uniform, decay)
    for index in range(3):
        np.testing.assert_allclose(clouds[index], _diamond_square(uniform[index], decay), atol=1e-9)


def test_slower_fading_makes_rougher_clouds() -> None:
    uniform = np.random.default_rng(0).uniform(-1, 1, (50, 1023))
    rough = [np.abs(np.diff(weather.plasma(uniform, decay), axis=2)).mean() for decay in (3, 2, 1.75)]
    assert np.diff(rough).min() > 0


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_keeps_an_images_maximum(severity: int) -> None:
    thickness, decay = weather.FOG[severity - 1]
    ours = _apply("fog", severity)
    for index, stream in enumerate(_streams(3)):
        cloud = weather.plasma(stream.uniform(-1, 1, (1, 1023)), decay)[0, :, :, None]
        x = PICTURES[index] / 255
        _close(ours[index], 255 * (x + thickness * cloud) * x.max() / (x.max() + thickness))
        assert ours[index].max() <= PICTURES[index].max()


def test_snow_falls_from_two_opposite_sides() -> None:
    for severity in SEVERITIES:
        grey = _apply("snow", severity, _flat(40, 5))
        np.testing.assert_array_equal(grey, grey[:, ::-1, ::-1])
        assert (grey[..., 0] == grey[..., 2]).all()
        # Where no flake falls the image is whitened: a share of it, the rest 1.5 times its brightness and a half.
        share = weather.SNOW[severity - 1][6]
        whitened = int(255 * (share * 40 / 255 + (1 - share) * (1.5 * 40 / 255 + 0.5)) + 1e-6)
        assert grey.min() == whitened
        assert grey.max() > whitened + 30


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_is_a_crop_of_a_plate(severity: int) -> None:
    weight, frost_weight = weather.FROST[severity - 1]
    ours = _apply("frost", severity)
    for index, stream in enumerate(_streams(6)):
        plate = weather.frost_plates()[stream.randint(5)]
        top = stream.randint(0, 96 - 32)
        left = stream.randint(0, 128 - 32)
        crop = plate[top : top + 32, left : left + 32]
        _close(ours[index], weight * PICTURES[index] + frost_weight * 255 * crop)


def test_plates_of_frost_are_like_photographs_of_it() -> None:
    plates = weather.frost_plates()
    means = plates.mean(axis=(1, 2))  # (5, 3)
    assert (np.diff(means, axis=1) > 0).all()  # bluish
    assert 0.25 < means.min() < means.max() < 0.9
    grey = plates.mean(axis=3)
    for plate in grey:
        crops = [plate[i : i + 32, j : j + 32].std() for i in range(0, 64, 16) for j in range(0, 96, 16)]
        assert 0.03 < np.mean(crops) < 0.12
        assert np.corrcoef(plate[:, 1:].ravel(), plate[:, :-1].ravel())[0, 1] == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_drops_are_water_or_mud(severity: int) -> None:
    water = weather.SPATTER[severity - 1][5] == "water"
    black, white = _apply("spatter", severity, _flat(0)).astype(float), _apply("spatter", severity, _flat(255))
    colour = weather.WATER if water else weather.MUD
    wet = black.max(axis=3) > 20
    assert 0.001 < wet.mean() < 0.5
    np.testing.assert_allclose(black[wet] / black[wet][:, 1:2], np.tile(colour / colour[1], (wet.sum(), 1)), atol=0.06)
    if water:
        assert (white == 255).all()  # water only brightens
    else:
        assert (white[black.max(axis=3) == 0] == 255).all()
        assert white[wet].max() <= 255 - 0.8 * (255 - 63) + 1  # a film of mud covers at least four fifths


def test_rims_are_found_where_the_depth_steps() -> None:
    depth = np.zeros((2, 20, 20), dtype=np.uint8)
    depth[0, :, 10:] = 60
    depth[1, 5:15, 5:15] = 60
    line, square = weather.canny(depth, 50, 150)
    assert line[:, 9].all()
    assert line.sum() == 20
    assert 28 <= square.sum() <= 44  # a closed curve of about 36 pixels
    assert ndimage.label(square, np.ones((3, 3)))[1] == 1
    faint = np.zeros((1, 20, 20), dtype=np.uint8)
    faint[0, :, 10:] = 30  # gradients of 120: above the lower limit, but connected to nothing above the upper one
    assert not weather.canny(faint, 50, 150).any()


def test_a_weak_rim_counts_where_it_joins_a_strong_one() -> None:
    depth = np.zeros((2, 20, 20), dtype=np.uint8)
    depth[0, :10, 10:], depth[0, 10:, 10:] = 60, 30
    depth[1, :, 10:] = 30  # the image beside it is not connected
    joined, alone = weather.canny(depth, 50, 150)
    assert joined[:, 9].sum() >= 18
    assert not alone.any()


def test_chamfer_distances_are_nearly_euclidean() -> None:
    marked = np.random.default_rng(0).random((4, 32, 32)) < 0.01
    ours = weather.chamfer(marked, 20)
    for mask, distance in zip(marked, ours, strict=True):
        exact = np.minimum(ndimage.distance_transform_edt(~mask), 20)
        np.testing.assert_allclose(distance, exact, rtol=0.025, atol=1e-9)
    assert (weather.chamfer(np.zeros((1, 8, 8), dtype=bool), 20) == 20).all()


def test_equalising_spreads_the_levels() -> None:
    levels = np.random.default_rng(0).integers(3, 20, (3, 32, 32)).astype(np.uint8)
    levels[2] = 7
    spread = weather.equalized(levels)
    for before, after in zip(levels[:2], spread[:2], strict=True):
        assert (after.min(), after.max()) == (0, 255)
        lowest = (before == before.min()).sum()
        for level in np.unique(before):  # the share of pixels up to a level, without those of the lowest
            expected = 255 * ((before <= level).sum() - lowest) / (before.size - lowest)
            assert after[before == level] == pytest.approx(round(float(expected)), abs=0.51)
    assert (spread[2] == 7).all()  # nothing to spread
