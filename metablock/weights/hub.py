"""Trained weights from elsewhere: the checkpoints that specs name, brought here once, their checksums verified.

A place is an address (``https://.../resnet18-f37072fd.pth``; a hash in the name, as torch's own files have it, or behind
``#sha256=`` is verified), or a repository of the Hugging Face hub (``timm/resnet18.a1_in1k``; with ``@REVISION``, with
``:FILE``), of which safetensors are taken first. Files stay in the caches of huggingface_hub and of torch.hub.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import urldefrag, urlparse

from ..errors import MetablockError, install_hint, suggest
from ..language.spec import CHECKPOINTS, Spec

# The files of a hub's repository that are looked for, in this order.
FILES = ("model.safetensors", "pytorch_model.bin")
# Before a place that a person gives.
MARK = "hf:"
_NAMED = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # resnet18-f37072fd.pth


def is_place(weights: object) -> bool:
    """Whether these weights are to be brought from elsewhere: ``True``, a name of `checkpoints:`, ``hf:...``, an address."""
    if weights is True:
        return True
    return isinstance(weights, str) and (weights.startswith((MARK, "https://")) or weights in CHECKPOINTS)


def bring(weights: bool | str, spec: Spec) -> Path:
    """The file with these weights, brought here if it is not yet.

    Args:
        weights: ``True`` (the first that the spec names), a name of its `checkpoints:` (``timm``, ``official``),
            ``hf:OWNER/NAME``, or an ``https://`` address.
        spec: resolved.

    Raises:
        MetablockError: the spec names none; huggingface_hub is missing; it cannot be reached; the checksum differs (the file is
            removed).
    """
    place = weights if isinstance(weights, str) and weights.startswith((MARK, "https://")) else _listed(weights, spec)
    if place.startswith("https://"):
        return _address(place)
    return _repository(place.removeprefix(MARK))


def _listed(weights: bool | str, spec: Spec) -> str:
    name = spec.variant or spec.name
    known = spec.checkpoints.of(name)
    if not known:
        raise MetablockError(f"'{name}' names no checkpoints\n  give a file, `hf:OWNER/NAME`, or add it to `checkpoints:`")
    if weights is True:
        return next(iter(known[key] for key in ("timm", "torchvision", "official") if key in known))
    if weights not in known:
        raise MetablockError(f"'{name}' names no checkpoint of '{weights}'\n  {suggest(str(weights), known, _there(known))}")
    return known[str(weights)]


def _there(known: dict[str, str]) -> str:
    return f"there is: {', '.join(known)}"


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
            raise MetablockError(f"'{place}' is not here and the hub cannot be reached\n  give a file: --weights FILE") from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as problem:
            raise MetablockError(
                f"'{place}' cannot be brought: {_first(problem)}\n  see https://huggingface.co/{repository}"
            ) from None
        _verified_blob(path)
        return path
    raise MetablockError(f"'{repository}' has no {file or ' or '.join(FILES)}\n  name the file: hf:{repository}:FILE")


def _verified_blob(path: Path) -> None:
    """The cache keeps a large file under the SHA-256 that the hub says it has."""
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        _verify(blob, blob.name, path)


# Addresses


def _address(place: str) -> Path:
    from torch.hub import download_url_to_file, get_dir

    address, fragment = urldefrag(place)
    name = Path(urlparse(address).path).name
    found = _NAMED.search(name)
    digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else found[1] if found else None
    path = Path(get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            download_url_to_file(address, str(path), progress=False)
        except Exception as problem:  # urllib and the socket have many
            raise MetablockError(f"'{address}' cannot be brought: {_first(problem)}\n  give a file: --weights FILE") from None
    if digest is not None:
        _verify(path, digest, path)
    return path


def _verify(path: Path, digest: str, shown: Path) -> None:
    """Compares a file's SHA-256 with how it should begin. Raises MetablockError, and removes the file."""
    hasher = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    if not hasher.hexdigest().startswith(digest):
        path.unlink()
        raise MetablockError(
            f"{shown}: the checksum is {hasher.hexdigest()[:16]}..., not {digest[:16]}\n  the file was removed; try again"
        )


def _first(problem: BaseException) -> str:
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__
