"""Decode and encode pictures; grey and tone. The only file that knows image formats.

At the edges pictures are uint8, HxW (grey) or HxWx3 (RGB); inside they are float32 in [0, 1].
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
from numpy.typing import NDArray

from twinscope.errors import BrokenError, RefusedError

Image = NDArray[np.uint8]
Grey = NDArray[np.float32]
Labels = NDArray[np.int64]


def grey(image: NDArray[Any]) -> Grey:
    """Return the luma of a picture: HxW or HxWx3 RGB, uint8 or float32 in [0, 1] -> HxW float32 in [0, 1]."""
    scaled = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    if scaled.ndim == 2:
        return scaled
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_RGB2GRAY), np.float32)


def extremes(image: Image) -> tuple[Image, Image]:
    """Return the least and the largest of the three channels of each pixel: (h, w, 3) uint8 -> two of (h, w)."""
    first, second, third = cv2.split(image)
    low, high = cv2.min(cv2.min(first, second), third), cv2.max(cv2.max(first, second), third)
    return np.asarray(low, np.uint8), np.asarray(high, np.uint8)


def read_png(path: Path) -> Image:
    """Return a picture that twinscope wrote itself: HxW or HxWx3 RGB uint8. Raises FileNotFoundError."""
    try:
        return decoded(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a picture that twinscope wrote; delete the case folder and screen again"
        ) from error


def decoded(data: bytes) -> Image:
    """Return the pixels of a PNG or JPEG that twinscope wrote itself: HxW or HxWx3 RGB uint8. Raises ValueError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("this is not a picture that twinscope wrote")
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_png(path: Path, image: Image) -> None:
    """Write HxW or HxWx3 RGB uint8 as PNG, the same bytes for the same pixels."""
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    how = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]  # half the time, one size
    ok, data = cv2.imencode(".png", out, how)
    if not ok:
        raise ValueError(f"cannot encode {path} as PNG")
    path.write_bytes(data.tobytes())


def write_labels(path: Path, labels: NDArray[np.uint16]) -> None:
    """Write a label image (HxW uint16) as a 16-bit PNG, the same bytes for the same labels."""
    ok, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise ValueError(f"cannot encode {path} as PNG")
    path.write_bytes(data.tobytes())


def read_labels(path: Path, kind: str, most_px: int) -> Labels:
    """Return a mask as the whole numbers that stand in the file: HxW. PNG, BMP, GIF (the palette's index) or TIFF.

    Raises RefusedError for colours, for JPEG and WebP, which change numbers, and beyond `most_px` pixels; BrokenError
    for a damaged file.
    """
    if kind not in ("png", "bmp", "gif", "tiff"):
        raise RefusedError(f"{kind.upper()} does not keep numbers; save masks as PNG or TIFF")
    try:
        if kind == "tiff":
            import tifffile  # slow to load

            with tifffile.TiffFile(path) as tiff:
                _check_tiff(tiff.pages[0], most_px)
                values = tiff.pages[0].asarray(maxworkers=1)
        else:
            with PIL.Image.open(path, formats=[kind.upper()]) as opened:
                if opened.width * opened.height > most_px:
                    raise RefusedError(f"{opened.width} x {opened.height} px are over the limit of {most_px} px")
                values = np.asarray(opened)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError) as error:
        raise BrokenError(f"the file is damaged ({_first_line(error)})") from error
    if values.ndim == 3 and values.shape[2] in (3, 4) and not np.ptp(values[..., :3], axis=2).any():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise RefusedError("it has colours; a mask has one channel of whole numbers")
    return np.asarray(values, np.int64)


def write_tiff(path: Path, values: Grey) -> None:
    """Write HxW float32 values of any range as a TIFF of one page, the same bytes for the same values."""
    import tifffile  # slow to load, and few commands need it

    tifffile.imwrite(path, np.asarray(values, np.float32), software="twinscope", metadata=None)


def write_jpeg(path: Path, image: Image, quality: int = 80) -> None:
    """Write HxW or HxWx3 RGB uint8 as JPEG (thumbnails only; panels are PNG)."""
    path.write_bytes(jpeg(image, quality))


def jpeg(image: Image, quality: int = 80) -> bytes:
    """Return HxW or HxWx3 RGB uint8 as the bytes of a JPEG."""
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"a picture of {image.shape} cannot be encoded as JPEG")
    return bytes(data.tobytes())


def thumbnail(image: Image, longest_px: int) -> Image:
    """Return a picture shrunk, if need be, until its longer side is `longest_px`."""
    factor = longest_px / max(image.shape[:2])
    if factor >= 1:
        return image
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def decode(source: Path | bytes, kind: str, most_px: int) -> tuple[Image, int]:
    """Return the first picture of a PNG, JPEG, WebP, GIF or BMP file as shown, and how many the file holds.

    Turned by its EXIF orientation, ICC colours as sRGB, transparency on white, 16 bit stretched between its .1 and
    99.9 percentiles. Raises RefusedError beyond `most_px` pixels and BrokenError for a damaged file.
    """
    PIL.Image.MAX_IMAGE_PIXELS = most_px
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            with PIL.Image.open(stream, formats=[kind.upper()]) as opened:
                width, height = opened.size
                if width * height > most_px:
                    raise RefusedError(f"a picture of {width} x {height} px is over the limit of {most_px} px")
                frames = int(getattr(opened, "n_frames", 1))
                opened.load()
                return _as_shown(PIL.ImageOps.exif_transpose(opened)), frames
        except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
            raise RefusedError(f"the picture is over the limit of {most_px} px") from error
        except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError) as error:
            raise BrokenError(f"the picture is damaged ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _as_shown(image: PIL.Image.Image) -> Image:
    """Return a decoded Pillow image as HxW or HxWx3 RGB uint8."""
    if image.mode.startswith("I") or image.mode == "F":
        return stretch(np.asarray(image))
    if image.mode == "1":
        image = image.convert("L")
    image = _srgb(image)
    if image.mode in ("PA", "LA", "La", "RGBa") or (image.mode in ("P", "L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        paper = PIL.Image.new("RGB", image.size, (255, 255, 255))
        paper.paste(image, mask=image.getchannel("A"))
        image = paper
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.array(image)


def _srgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image with an embedded colour profile as sRGB (or grey); unchanged where the profile is of no use."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK") or b"sRGB" in profile[:2048]:
        return image
    try:
        given = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = PIL.ImageCms.profileToProfile(image, given, PIL.ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (PIL.ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if changed is None else changed


def stretch(values: NDArray[Any]) -> Image:
    """Return HxW or HxWxC values of any depth as uint8, each channel between its .1 and 99.9 percentiles.

    Where these are the same, as in a dark picture of a few small spots, between its least and its largest value.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    planes = values[..., None] if values.ndim == 2 else values
    out = np.zeros(planes.shape, np.uint8)
    for channel in range(planes.shape[2]):
        plane = np.nan_to_num(planes[..., channel].astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = np.percentile(plane[:: max(1, plane.shape[0] // 2000)], (0.1, 99.9))
        if high <= low:  # all but a thousandth is of one tone: what is there is in the rest
            low, high = plane.min(), plane.max()
        if high > low:
            out[..., channel] = np.clip((plane - low) * (255 / (high - low)) + 0.5, 0, 255)
    return out[..., 0] if values.ndim == 2 else out


def decode_tiff(source: Path | bytes, most_px: int, most_pages: int, first: int = 1) -> Iterator[tuple[int, Image]]:
    """Yield (page from 1, picture) of a TIFF (8/16 bit, float, OME, multi-page), from page `first`.

    Sizes are checked before anything is decoded. A page of several channels that are not colours comes as one picture a
    channel, all under the same page. Raises RefusedError beyond the limits, BrokenError for damage.
    """
    import tifffile  # slow to load, and few documents need it

    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with tifffile.TiffFile(stream) as tiff:
            for number, page in enumerate(tiff.pages, 1):
                if number > most_pages:
                    raise RefusedError(f"the TIFF has more than {most_pages} pages; the rest is not read")
                if number < first:
                    continue
                _check_tiff(page, most_px)
                for image in _tiff_pictures(page):
                    yield number, image
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error,
            RuntimeError, ZeroDivisionError, OverflowError) as error:  # fmt: skip
        raise BrokenError(f"the TIFF is damaged ({_first_line(error)})") from error


def _check_tiff(page: Any, most_px: int) -> None:
    width, height = int(page.imagewidth), int(page.imagelength)
    depth = int(getattr(page, "imagedepth", 1) or 1)
    samples = int(page.samplesperpixel or 1)
    if width * height * depth > most_px or samples > 64 or width * height * samples * page.bitspersample > 48 * most_px:
        raise RefusedError(f"a picture of {width} x {height} px, {samples} channels is over the limit of {most_px} px")
    if int(page.tilewidth or 0) * int(page.tilelength or 0) > min(most_px, max(1 << 22, 4 * width * height)):
        raise RefusedError(f"a picture with tiles of {page.tilewidth} x {page.tilelength} px is over the limit")


def _on_white(color: Image, extra: NDArray[Any], page: Any) -> Image:
    """Return the colours of a TIFF page (h, w, 3) on white where its fourth sample (h, w, 1) is alpha; else unchanged.

    It is where the file says so: by 1, the colours are multiplied by it already, or by 2, they are not.
    """
    kind = int(page.extrasamples[0]) if page.extrasamples else 0
    if kind not in (1, 2):
        return color
    full = 1.0 if extra.dtype.kind == "f" else float(2 ** int(page.bitspersample) - 1)
    alpha = np.clip(np.nan_to_num(extra.astype(np.float32)) / full, 0, 1)
    own = color if kind == 1 else color * alpha
    return np.asarray(np.clip(own + 255 * (1 - alpha) + 0.5, 0, 255), np.uint8)


def _tiff_pictures(page: Any) -> list[Image]:
    """Return a page of a TIFF as pictures: one, or one a channel."""
    values = page.asarray(maxworkers=1)
    values = values[(0,) * (values.ndim - 3)] if values.ndim > 3 else values
    photometric = page.photometric.name if page.photometric is not None else ""
    planar = values.ndim == 3 and values.shape[0] == page.samplesperpixel and values.shape[2] != page.samplesperpixel
    if planar:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if photometric == "PALETTE" and values.ndim == 2 and page.colormap is not None:
        table = np.asarray(page.colormap)
        return [
            np.ascontiguousarray(
                (table[:, np.minimum(values, table.shape[1] - 1)] >> 8).astype(np.uint8).transpose(1, 2, 0)
            )
        ]
    if values.ndim == 2:
        flat = (
            stretch(values)
            if values.dtype != np.uint8 or page.bitspersample == 8
            else values * np.uint8(255 // (2 ** int(page.bitspersample) - 1))
        )
        return [255 - flat if photometric == "MINISWHITE" else np.ascontiguousarray(flat)]
    if photometric == "SEPARATED" and values.shape[2] >= 4 and values.dtype == np.uint8:
        return [np.array(PIL.Image.fromarray(np.ascontiguousarray(values[..., :4]), "CMYK").convert("RGB"))]
    if values.shape[2] <= 4 and photometric in ("RGB", "YCBCR"):
        color = stretch(values[..., :3])
        if values.shape[2] == 4:
            color = _on_white(color, values[..., 3:], page)
        return [np.ascontiguousarray(color)]
    return [stretch(np.ascontiguousarray(values[..., c])) for c in range(values.shape[2])]
