"""Downloads trained weights: the checkpoints that specs name, once, with their checksums verified.

A place is a URL (``https://.../resnet18-f37072fd.pth``) or a repository of the Hugging Face hub (``timm/resnet18.a1_in1k``,
optionally with ``@REVISION`` and ``:FILE``). A hash in a URL's file name, as in torch's own, or after ``#sha256=`` is verified.
Of a repository, safetensors are preferred. Files stay in the caches of huggingface_hub and torch.hub.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import urldefrag, urlparse

from ..errors import MetablockError, install_hint, suggest
from ..language.spec import CHECKPOINTS, Spec

# The files to look for in a repository of the hub, in this order.
FILES = ("model.safetensors", "pytorch_model.bin")
# The prefix of a repository in an argument.
MARK = "hf:"
_NAMED = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # resnet18-f37072fd.pth


def is_place(weights: object) -> bool:
    """Whether these weights have to be downloaded: ``True``, a name in `checkpoints:`, ``hf:...``, a URL.

    >>> is_place("timm"), is_place("hf:timm/resnet18.a1_in1k"), is_place("resnet18.pth")
    (True, True, False)
    """
    if weights is True:
        return True
    return isinstance(weights, str) and (weights.startswith((MARK, "https://")) or weights in CHECKPOINTS)


def bring(weights: bool | str, spec: Spec) -> Path:
    """The path of the file with these weights; downloads it unless it is in the cache.

    Args:
        weights: ``True`` (the first checkpoint that the spec names), a name in its `checkpoints:` (``timm``, ``official``),
            ``hf:OWNER/NAME``, or an ``https://`` URL.
        spec: resolved.

    Raises:
        MetablockError: the spec names no such checkpoint; huggingface_hub is missing; the download fails; the checksum differs
            (the file is removed).
    """
    place = weights if isinstance(weights, str) and weights.startswith((MARK, "https://")) else _listed(weights, spec)
    if place.startswith("https://"):
        return _url(place)
    return _repository(place.removeprefix(MARK))


def _listed(weights: bool | str, spec: Spec) -> str:
    name = spec.variant or spec.name
    known = spec.checkpoints.of(name)
    if not known:
        raise MetablockError(f"'{name}' names no checkpoints", "give a file, `hf:OWNER/NAME`, or add it to `checkpoints:`")
    if weights is True:
        return next(iter(known[key] for key in ("timm", "torchvision", "official") if key in known))
    if weights not in known:
        hint = suggest(str(weights), known, f"there is: {', '.join(known)}")
        raise MetablockError(f"'{name}' names no checkpoint of '{weights}'", hint)
    return known[str(weights)]


# The hub


def _repository(place: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MetablockError(f"'{place}' is on the Hugging Face hub", install_hint("hub")) from None
    repository, _, file = place.partition(":")
    repository, _, revision = repository.partition("@")
    for name in [file] if file else FILES:
        try:
            path = Path(hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError:
            message = f"'{place}' is not in the cache and the hub cannot be reached"
            raise MetablockError(message, "give a file: --weights FILE") from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as problem:
            raise MetablockError(
                f"'{place}' cannot be downloaded: {_first_line(problem)}", f"see https://huggingface.co/{repository}"
            ) from None
        _verified_blob(path)
        return path
    raise MetablockError(f"'{repository}' has no {file or ' or '.join(FILES)}", f"name the file: hf:{repository}:FILE")


def _verified_blob(path: Path) -> None:
    """Verifies a large file: the hub's cache names it by the SHA-256 that the hub reports."""
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        _verify(blob, blob.name, path)


# URLs


def _url(place: str) -> Path:
    from torch.hub import download_url_to_file, get_dir

    url, fragment = urldefrag(place)
    name = Path(urlparse(url).path).name
    named = _NAMED.search(name)
    digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else named[1] if named else None
    path = Path(get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            download_url_to_file(url, str(path), progress=False)
        except Exception as problem:  # urllib and sockets raise many types
            message = f"'{url}' cannot be downloaded: {_first_line(problem)}"
            raise MetablockError(message, "give a file: --weights FILE") from None
    if digest is not None:
        _verify(path, digest, path)
    return path


def _verify(path: Path, digest: str, shown: Path) -> None:
    """Compares a file's SHA-256 with the digest it must begin with. Otherwise removes the file and raises MetablockError."""
    hasher = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    if not hasher.hexdigest().startswith(digest):
        path.unlink()
        raise MetablockError(
            f"{shown}: the checksum is {hasher.hexdigest()[:16]}..., not {digest[:16]}", "the file was removed; try again"
        )


def _first_line(problem: BaseException) -> str:
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__
