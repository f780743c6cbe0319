"""Trees of image files, ``train/<class>/<image>``, ``test/<class>/<image>``, and tars of them."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ufm.torch.data.images import Images, Split

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
_TEST_FOLDERS = ("test", "val", "valid", "validation")
_MAX_PIXELS = 1 << 26  # a picture larger than that is a mistake or an attack
_MAX_BYTES = 1 << 28  # the same of a file
# What the suffixes stand for: none of the formats that Pillow hands to other programs.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

_Entry = tuple[str, str, str, bytes]  # split, class, name, content


def is_tar(path: Path) -> bool:
    """Whether the file is a tar archive, compressed or not."""
    return tarfile.is_tarfile(path)


def read_tree(folder: Path, name: str) -> Images:
    """Read a tree of image files; a tree without ``train/`` has no test images."""
    return _collect(_walk(folder), str(folder), name)


def read_tar(path: Path, name: str) -> Images:
    """Read a tar of a tree of image files, without unpacking it to disk."""
    try:
        return _collect(_members(path), str(path), name)
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _walk(folder: Path) -> Iterator[_Entry]:
    for path in sorted(folder.rglob("*")):
        place = _place(PurePosixPath(path.relative_to(folder).as_posix()))
        if place is not None and path.is_file():
            _check_size(path.stat().st_size, str(path))
            yield *place, path.read_bytes()


def _members(path: Path) -> Iterator[_Entry]:
    with tarfile.open(path) as archive:
        for member in archive:
            place = _place(PurePosixPath(member.name))
            if place is None or not member.isfile():
                continue  # links too: what they point at is read where it lies
            _check_size(member.size, f"{path}: {member.name}")
            content = archive.extractfile(member)
            if content is not None:
                yield *place, content.read()
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Refuse an archive that stops without its end mark: one cut between members, or damaged."""
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it stops without the mark of an archive's end")


def _check_size(size: int, where: str) -> None:
    if size > _MAX_BYTES:
        raise ValueError(f"{where} has {size:,} bytes, too many for a picture")


def _place(path: PurePosixPath) -> tuple[str, str, str] | None:
    """Split, class and name of an image file; None for other files."""
    if path.suffix.lower() not in _SUFFIXES or len(path.parts) < 2:
        return None
    top = path.parts[-3].lower() if len(path.parts) > 2 else ""
    return "test" if top in _TEST_FOLDERS else "train", path.parts[-2], path.name


def _collect(entries: Iterable[_Entry], where: str, name: str) -> Images:
    """Decode every entry; classes and images in alphabetical order, whatever the archive's."""
    decode = _decoder()
    pictures: dict[str, list[tuple[str, str, np.ndarray]]] = {"train": [], "test": []}
    for split, label, file, content in entries:
        pictures[split].append((label, file, decode(content, f"{where}: {label}/{file}")))
    if not pictures["train"]:
        raise ValueError(f"{where} holds no training images: <class>/<image> files expected")
    classes = tuple(sorted({label for label, _, _ in pictures["train"]}))
    strangers = {label for label, _, _ in pictures["test"]} - set(classes)
    if strangers:
        raise ValueError(f"{where}: test class {min(strangers)!r} has no training images")
    colour = {picture.shape[0] for found in pictures.values() for _, _, picture in found}
    if len(colour) > 1:  # grey pictures among coloured ones
        for found in pictures.values():
            found[:] = [(k, f, np.repeat(p, 3 // len(p), axis=0)) for k, f, p in found]
    return Images(
        name,
        _stack(pictures["train"], classes, where),
        _stack(pictures["test"], classes, where, like=pictures["train"][0][2].shape),
        classes,
    )


def _stack(
    pictures: list[tuple[str, str, np.ndarray]],
    classes: tuple[str, ...],
    where: str,
    like: tuple[int, ...] = (),
) -> Split:
    if not pictures:
        return Split(np.zeros((0, *like), np.uint8), np.zeros(0, np.int64))
    pictures = sorted(pictures, key=lambda picture: picture[:2])
    shapes = {picture.shape for _, _, picture in pictures}
    if len(shapes) > 1:
        raise ValueError(
            f"{where}: images of different sizes, such as {sorted(shapes)[:2]}; all must be alike"
        )
    index = {label: k for k, label in enumerate(classes)}
    labels = np.array([index[label] for label, _, _ in pictures], dtype=np.int64)
    return Split(np.stack([picture for _, _, picture in pictures]), labels)


def _decoder() -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            'image files are read with Pillow, which is not installed: pip install "ufm[images]"'
        ) from error

    def decode(content: bytes, where: str) -> np.ndarray:
        try:
            with (
                warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
                Image.open(io.BytesIO(content), formats=_FORMATS) as picture,
            ):
                if picture.width * picture.height > _MAX_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
                grey = picture.mode in ("1", "L", "I;16", "LA")
                pixels = np.asarray(picture.convert("L" if grey else "RGB"))
        except (
            UnidentifiedImageError,
            Image.DecompressionBombError,
            OSError,
            SyntaxError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            struct.error,
            zlib.error,
            EOFError,
        ) as error:
            raise ValueError(f"{where} is not a whole image: {error}") from None
        return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    return decode
