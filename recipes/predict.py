"""``python -m recipes predict``: read digits from pictures of them.

Each picture shows one digit, dark on bright or bright on dark, of any size. It is prepared as MNIST's digits
were: bright on black, its longer side 20 pixels, its center of mass in the center of 28x28 pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from recipes.classifier import Classifier
from recipes.data import MEAN, STD
from recipes.errors import RecipeError
from recipes.tool import Parser, load

__all__ = ["main", "prepare", "read_gray"]

# Pictures are looked at with sides of at most so many pixels.
LARGEST = 320
# Ink is what differs from the page by more than STRONG, as a fraction of the most; and what touches it and
# differs by more than WEAK: the soft edge of a stroke.
STRONG, WEAK = 0.5, 0.12
# Spots with less than this part of the digit's ink are dirt.
DIRT = 0.02


def read_gray(path: str) -> Tensor:
    """Read a picture as brightness (H, W) from 0 to 1, with sides of at most 320 pixels.

    What is transparent is drawn on white, or on black if the ink is bright.

    Raises:
        RecipeError: there is no such file, or it is no picture.
    """
    try:
        picture = ImageOps.exif_transpose(Image.open(path))
        picture.load()
    except UnidentifiedImageError:
        raise RecipeError(f"--image {path} is no picture that Pillow can read; give a PNG") from None
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise RecipeError(f"--image {path}: {reason}") from None
    deep = picture.mode.startswith(("I", "F"))
    picture = picture.convert("F" if deep else "RGBA")
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    if deep:
        gray = _tensor(picture)
        return (gray - gray.min()) / (gray.max() - gray.min()).clamp(min=1e-12)
    gray, alpha = _tensor(picture.convert("RGB").convert("L")) / 255, _tensor(picture.getchannel("A")) / 255
    ink = float((gray * alpha).sum() / alpha.sum().clamp(min=1e-6))
    page = 1.0 if ink < 0.5 else 0.0
    return gray * alpha + page * (1 - alpha)


def _tensor(picture: Image.Image) -> Tensor:
    width, height = picture.size
    kind = torch.float32 if picture.mode == "F" else torch.uint8
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=kind).view(height, width).float()


def prepare(gray: Tensor) -> Tensor | None:
    """Prepare a picture of a digit as MNIST's were.

    Args:
        gray: (H, W), brightness from 0 to 1.

    Returns:
        (28, 28), from 0 (background) to 1; None if the picture is blank.
    """
    # The page is the brightness that most pixels have; ink is what differs from it, to the other side.
    page = gray.median()
    if (page - gray.min()) < (gray.max() - page):
        gray = 1 - gray
    # A closing: the brightest nearby, so that a shadow on the page is no ink.
    width = max(3, min(gray.shape) // 2 | 1)
    ink = (-_dilate(-_dilate(gray, width), width) - gray).clamp(min=0)
    if ink.max() < 0.1:
        return None
    ink = (ink / ink.flatten().kthvalue(max(1, int(0.995 * ink.numel())))[0].clamp(min=0.1)).clamp(max=1)
    ink = ink * _digit(ink)
    rows, columns = (ink.amax(dim=axis).nonzero().flatten() for axis in (1, 0))
    if len(rows) == 0:
        return None
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(ink.shape)
    size = [max(1, round(side * scale)) for side in ink.shape]
    small = F.interpolate(ink[None, None], size, mode="bilinear", antialias=True, align_corners=False)[0, 0]
    small = (small / small.max()).clamp(min=0)
    top, left = (_start(small.sum(dim=axis)) for axis in (1, 0))
    return F.pad(small, (left, 28 - left - small.shape[1], top, 28 - top - small.shape[0]))


def _start(profile: Tensor) -> int:
    """Where to begin on 28 pixels, so that the center of mass comes to their center."""
    center = float((profile * torch.arange(len(profile))).sum() / profile.sum())
    return min(max(0, round(14 - center)), 28 - len(profile))


def _dilate(image: Tensor, width: int) -> Tensor:
    """The largest of ``width`` x ``width`` pixels around each."""
    for kernel in ((width, 1), (1, width)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        image = F.max_pool2d(image[None, None], kernel, stride=1, padding=padding)[0, 0]
    return image


def _digit(ink: Tensor) -> Tensor:
    """Which pixels are the digit's: without a frame at the border, and without dirt."""
    parts = [part for part in _parts(ink > WEAK) if bool((ink[part] > STRONG).any())]
    last = torch.tensor(ink.shape) - 1
    inside = [p for p in parts if not any(bool(((x == 0) | (x == n)).any()) for x, n in zip(p, last))]
    # A digit that fills the picture touches the border, too.
    if any(int(x.max() - x.min()) > 0.3 * max(ink.shape) for part in inside for x in part):
        parts = inside
    most = max((float(ink[part].sum()) for part in parts), default=0.0)
    digit = torch.zeros_like(ink)
    for part in parts:
        if ink[part].sum() >= DIRT * most:
            digit[part] = 1
    return digit


def _parts(mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The rows and columns of pixels that hang together, for each part of the mask."""
    width = mask.shape[1] + 2
    left = set(F.pad(mask, (1, 1, 1, 1)).flatten().nonzero().flatten().tolist())
    around = [down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
    parts = []
    while left:
        part = [left.pop()]
        for pixel in part:  # which grows
            near = left.intersection(pixel + step for step in around)
            left -= near
            part += near
        pixels = torch.tensor(part)
        parts.append((pixels // width - 1, pixels % width - 1))
    return parts


def main(argv: Sequence[str]) -> None:
    """Read the pictures, print a line for each, and draw what the network saw."""
    parser = Parser("predict", __doc__)
    parser.add_argument("--ckpt_path", required=True, metavar="RUN/best.ckpt", help="of a classifier")
    parser.add_argument("--image", required=True, nargs="+", metavar="PNG", help="pictures of a digit")
    parser.add_argument("--out", type=Path, metavar="PNG", help="what the network saw (RUN/predict.png)")
    arguments = parser.parse_args(argv)
    recipe, checkpoint = load(arguments.ckpt_path)
    if not isinstance(recipe, Classifier):
        name = type(recipe).__name__
        raise RecipeError(f"--ckpt_path {arguments.ckpt_path} is of {name}, which is no classifier")
    grays = [read_gray(path) for path in arguments.image]
    digits = []
    for path, gray in zip(arguments.image, grays, strict=True):
        if (digit := prepare(gray)) is None:
            raise RecipeError(f"--image {path} is blank: nothing in it differs from its background")
        digits.append(digit)
    x = torch.stack(digits).unsqueeze(1)
    normalized = checkpoint.get("MNIST", {}).get("normalize", True)
    with torch.no_grad():
        chances = recipe((x - MEAN) / STD if normalized else x).softmax(dim=1)
    answers = []
    for path, chance in zip(arguments.image, chances, strict=True):
        (first, second), (a, b) = (values.tolist() for values in reversed(chance.topk(2)))
        answers.append(f"{first} ({100 * a:.1f} %), then {second} ({100 * b:.1f} %)")
        print(f"{path}: {answers[-1]}")
    from recipes import pictures

    out = arguments.out or Path(arguments.ckpt_path).parent / "predict.png"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pictures.draw_predictions([Path(p).name for p in arguments.image], grays, digits, answers, out)
    except OSError as error:
        raise RecipeError(f"--out {out}: {error.strerror}") from None
    print(f"what the network saw: {out}")
