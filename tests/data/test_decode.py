from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ncbench import DataError
from ncbench.data.store import decode as decode_module
from ncbench.data.store.decode import Framing, decode, decode_in_order

RAMP = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)


def _save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    np.testing.assert_array_equal(
        decode(_save(tmp_path / "image.png", image), Framing((8, 8))), np.asarray(image.convert("RGB"))
    )


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(_save(tmp_path / "image.jpg", image, quality=100), Framing((8, 8)))[0, 0]
    assert red[0] > 240
    assert red[1:].max() < 15


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.array([[0, 255], [256, 65535]], dtype=np.uint16)
    decoded = decode(_save(tmp_path / "image.png", Image.fromarray(wide)), Framing((2, 2)))
    assert decoded[:, :, 0].tolist() == [[0, 0], [1, 255]]


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    upright = np.zeros((8, 8, 3), dtype=np.uint8)
    upright[:4] = 255
    image = Image.fromarray(np.rot90(upright, 1))  # lies on its left side
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    decoded = decode(_save(tmp_path / "image.jpg", image, exif=exif, quality=100), Framing((8, 8)))
    assert decoded[:3].min() > 240
    assert decoded[5:].max() < 15


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
@settings(max_examples=60, deadline=None)
def test_any_size_is_fitted(
    height: int, width: int, size: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.png"
    Image.new("RGB", (width, height), (10, 20, 30)).save(path)
    decoded = decode(path, Framing(size))
    assert decoded.shape == (*size, 3)
    assert (decoded == (10, 20, 30)).all()


def test_the_middle_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    assert (decode(_save(tmp_path / "wide.png", Image.fromarray(wide)), Framing((10, 10))) == 200).all()


def test_the_resize_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (50, 70, 3), dtype=np.uint8))
    expected = np.asarray(Compose([Resize(24), CenterCrop(24)])(image))
    np.testing.assert_array_equal(decode(_save(tmp_path / "image.png", image), Framing((24, 24))), expected)


@pytest.mark.parametrize("shape", [(50, 70), (70, 50), (50, 50), (30, 31)])
def test_a_wider_resize_is_torchvisions(tmp_path: Path, shape: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = _save(tmp_path / "image.png", Image.fromarray(pixels))
    expected = np.asarray(Compose([Resize(32), CenterCrop(28)])(Image.fromarray(pixels)))
    np.testing.assert_array_equal(decode(path, Framing((28, 28), shorter_side=32)), expected)
    with pytest.raises(ValueError, match="shorter_side 27 does not cover"):
        Framing((28, 28), shorter_side=27)


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1), (1, 1_000_000), (65_535, 3)])
@pytest.mark.parametrize("framing", [Framing((224, 224), shorter_side=256), Framing((16, 64)), Framing((64, 16))])
def test_an_image_of_extreme_shape_costs_what_its_pixels_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], framing: Framing
) -> None:
    resize = Image.Image.resize
    pixels = []

    def counted(image: Image.Image, size: tuple[int, int], *arguments: object) -> Image.Image:
        pixels.append(size[0] * size[1])
        return resize(image, size, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", counted)
    path = _save(tmp_path / "thin.png", Image.new("RGB", size, (10, 20, 30)))
    assert (decode(path, framing) == (10, 20, 30)).all()
    assert max(pixels, default=0) < 5_000_000


@pytest.mark.parametrize("length", [1000, 1001])
def test_the_middle_of_a_thin_image_is_kept(tmp_path: Path, length: int) -> None:
    pixels = np.zeros((length, 4, 3), dtype=np.uint8)
    pixels[length // 2 - 2 : length // 2 + 2 + length % 2] = 200
    for name, turned in (("tall", pixels), ("wide", pixels.transpose(1, 0, 2))):
        decoded = decode(_save(tmp_path / f"{name}.png", Image.fromarray(turned)), Framing((8, 8)))
        assert decoded[2:6, 2:6].min() == 200


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = bytearray(_save(tmp_path / "bomb.bmp", Image.new("RGB", (4, 4))).read_bytes())
    content[18:26] = (65_500).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match=r"Image size \(4290250000 pixels\) exceeds limit"):
        decode(bytes(content), Framing((8, 8)))


def test_a_long_file_that_is_no_image_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="no image of a known format"):
        decode(path, Framing((8, 8)))


def test_what_pillow_warns_of_without_naming_the_image_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    cut_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06\0"
    paths = [
        _save(tmp_path / "exif.jpg", image, exif=cut_exif),
        _save(tmp_path / "transparent.png", image.convert("P"), transparency=bytes(range(256))),
        _save(tmp_path / "large.png", Image.new("1", (200, 200))),
    ]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    for path in paths:
        decode(path, Framing((8, 8)))
    assert len(recwarn) == 3  # the files are such
    recwarn.clear()
    for _, reasons in decode_in_order(paths, Framing((8, 8)), workers=2):
        assert reasons == ["", "", ""]
    assert not recwarn.list


def test_the_first_picture_of_a_moving_one_is_taken(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        path = _save(tmp_path / f"moving.{kind}", first, format=kind, save_all=True, append_images=[second])
        assert decode(path, Framing((8, 8)))[4, 4].tolist() == pytest.approx([250, 0, 0], abs=6)


def test_a_banner_is_cut_off_first(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    whole = _save(tmp_path / "whole.png", Image.fromarray(pixels))
    cut = _save(tmp_path / "cut.png", Image.fromarray(pixels[:-7]))
    np.testing.assert_array_equal(decode(whole, Framing((16, 16), cut_bottom=7)), decode(cut, Framing((16, 16))))
    with pytest.raises(ValueError, match="30 rows, of which the last 30 are to be cut off"):
        decode(whole, Framing((16, 16), cut_bottom=30))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_told_by_their_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (8, 8), (250, 250, 250)).save(path, kind)
    assert decode(path, Framing((8, 8))).min() >= 249


def test_a_format_that_is_a_program_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(ValueError, match="no image of a known format"):
        decode(path, Framing((8, 8)))


def test_a_mode_without_a_meaning_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "image.tiff", Image.fromarray(np.ones((4, 4), dtype=np.float32)))
    with pytest.raises(ValueError, match="mode F"):
        decode(path, Framing((4, 4)))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_fail_cleanly_or_decode(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from(["JPEG", "PNG"]))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[position] ^= data.draw(st.integers(1, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged EXIF data
        try:
            decoded, reason = decode(path, Framing((8, 8))), ""
        except ValueError as error:
            decoded, reason = np.zeros((8, 8, 3)), str(error)
    assert decoded.shape == (8, 8, 3)
    assert "\n" not in reason


def test_workers_keep_the_order_and_report_bad_files(tmp_path: Path) -> None:
    paths = []
    for number in range(70):
        path = tmp_path / f"an image, {number}.png"
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
        paths.append(path)
    paths[33].write_bytes(b"nothing")
    framing = Framing((4, 4), shorter_side=6, cut_bottom=1)
    alone = list(decode_in_order(paths, framing, workers=1))
    helped = list(decode_in_order(paths, framing, workers=2))
    for chunks in (alone, helped):
        images = np.concatenate([chunk for chunk, _ in chunks])
        reasons = [reason for _, chunk in chunks for reason in chunk]
        assert [int(image[0, 0, 0]) for image in images] == [n if n != 33 else 0 for n in range(70)]
        assert [n for n, reason in enumerate(reasons) if reason] == [33]
    assert [reasons for _, reasons in alone] == [reasons for _, reasons in helped]


class Inside:
    """An image file inside another one."""

    def __init__(self, content: bytes, place: str) -> None:
        self.content = content
        self.place = place

    def __str__(self) -> str:
        return self.place

    def read_bytes(self) -> bytes:
        return self.content


def test_what_lies_inside_other_files_is_decoded_as_files_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    paths = []
    for number in range(70):
        pixels = generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        paths.append(_save(tmp_path / f"{number}.png", Image.fromarray(pixels)))
    framing = Framing((4, 4), shorter_side=5)
    expected = np.concatenate([images for images, _ in decode_in_order(paths, framing, workers=1)])
    contents = [path.read_bytes() for path in paths]
    contents[33], contents[41] = b"nothing", b""
    # Paths and contents may be mixed, in one request too.
    files = [path if n % 3 == 0 and n != 33 else Inside(contents[n], f"row {n}") for n, path in enumerate(paths)]
    for workers in (1, 2):
        chunks = list(decode_in_order(files, framing, workers))
        images = np.concatenate([chunk for chunk, _ in chunks])
        reasons = [reason for _, chunk in chunks for reason in chunk]
        assert [n for n, reason in enumerate(reasons) if reason] == [33, 41]
        assert reasons[33] == "it is no image of a known format"  # no address: the same damage gives the same message
        assert reasons[41] == "it has no bytes"
        good = [n for n in range(70) if n not in (33, 41)]
        np.testing.assert_array_equal(images[good], expected[good])


def test_leaving_early_ends_the_threads(tmp_path: Path) -> None:
    def decoding() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("ncbench-decode")]

    paths = [_save(tmp_path / f"{number}.png", Image.new("RGB", (4, 4))) for number in range(200)]
    chunks = decode_in_order(paths, Framing((4, 4)), workers=2)
    next(chunks)
    assert len(decoding()) == 2
    chunks.close()  # type: ignore[attr-defined]
    assert decoding() == []


def test_no_more_than_a_few_chunks_are_read_ahead(tmp_path: Path) -> None:
    content = _save(tmp_path / "image.png", Image.new("RGB", (4, 4))).read_bytes()
    read: list[str] = []

    class Counted(Inside):
        def read_bytes(self) -> bytes:
            read.append(self.place)
            return super().read_bytes()

    chunks = decode_in_order([Counted(content, str(n)) for n in range(2000)], Framing((4, 4)), workers=2)
    next(chunks)
    assert len(read) <= 5 * decode_module.CHUNK
    assert sum(len(images) for images, _ in chunks) == 2000 - decode_module.CHUNK


def test_a_file_that_cannot_be_opened_around_the_images_is_one_error(tmp_path: Path) -> None:
    class Torn(Inside):
        def read_bytes(self) -> bytes:
            raise DataError("the file around it is damaged")

    paths = [_save(tmp_path / f"{number}.png", Image.new("RGB", (4, 4))) for number in range(40)]
    with pytest.raises(DataError, match="the file around it"):
        list(decode_in_order([*paths, Torn(b"", "row 0")], Framing((4, 4)), workers=2))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [60, 2])
def test_a_jpeg_file_that_ends_early_is_refused(tmp_path: Path, progressive: bool, cut: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    path = _save(tmp_path / "image.jpg", Image.fromarray(pixels), progressive=progressive)
    with pytest.raises(ValueError, match="truncated"):
        decode(path.read_bytes()[:-cut], Framing((16, 16)))


def test_the_decoder_is_named_with_its_version() -> None:
    assert decode_module.decoder() == ["Pillow", PIL.__version__]
