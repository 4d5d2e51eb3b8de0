"""Downloads trained weights: the checkpoints that specs name, once, with their checksums verified.

A place is an address (``https://.../resnet18-f37072fd.pth``) or a repository of the Hugging Face hub (``timm/resnet18.a1_in1k``,
optionally with ``@REVISION`` and ``:FILE``). A hash in an address's file name, as in torch's own, or after ``#sha256=`` is
verified. Of a repository, safetensors are preferred. Files stay in the caches of huggingface_hub and torch.hub, a file of an
address by the whole address. A file that torch.hub stored is used if its hash is known and right.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import tempfile
from hashlib import file_digest, sha256
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

from ..errors import MetablockError, install_hint, suggest
from ..language.fact_tables import SECURE, address_parts
from ..language.spec import CHECKPOINTS, Spec
from .checkpoint import is_page, whole

# The files to look for in a repository of the hub, in this order.
FILES = ("model.safetensors", "pytorch_model.bin")
_SILENCE = 60  # seconds without a byte after which a server is given up
# The prefix of a repository in an argument.
MARK = "hf:"
_NAMED = re.compile(r"-([0-9a-f]{8,64})\.[a-z_0-9]+$")  # resnet18-f37072fd.pth


def is_place(weights: object) -> bool:
    """Whether these weights have to be downloaded: ``True``, a name in `checkpoints:`, ``hf:...``, a URL.

    >>> is_place("timm"), is_place("hf:timm/resnet18.a1_in1k"), is_place("resnet18.pth")
    (True, True, False)
    """
    if weights is True:
        return True
    return isinstance(weights, str) and (weights.startswith((MARK, SECURE)) or weights in CHECKPOINTS)


def bring(weights: bool | str, spec: Spec) -> Path:
    """The path of the file with these weights; downloads it unless it is in the cache.

    Args:
        weights: ``True`` (the first checkpoint that the spec names), a name in its `checkpoints:` (``timm``, ``official``),
            ``hf:OWNER/NAME``, or an ``https://`` URL.
        spec: resolved.

    Raises:
        MetablockError: the spec names no such checkpoint; huggingface_hub is missing; the download fails or is cut off; the
            checksum differs (what was downloaded is removed); a malformed `#sha256=`.
    """
    place = weights if isinstance(weights, str) and weights.startswith((MARK, SECURE)) else _listed(weights, spec)
    if place.startswith(SECURE):
        return _address(place)
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
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise MetablockError(f"'{place}' is on the Hugging Face hub", install_hint("hub")) from None
    repository, _, file = place.partition(":")
    repository, _, revision = repository.partition("@")
    for name in [file] if file else FILES:
        try:
            cached = _cached(repository, name, revision or None)
            path = Path(hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError:
            message = f"'{place}' is not in the cache and the hub cannot be reached"
            raise MetablockError(message, "give a file: --weights FILE") from None
        except EntryNotFoundError:
            continue
        except HFValidationError:
            message = f"'{place}' cannot be downloaded: '{repository}' is no name of a repository"
            raise MetablockError(message, f"write {MARK}OWNER/NAME, and @REVISION or :FILE after it") from None
        except (HfHubHTTPError, OSError, ValueError) as problem:
            cases = {
                GatedRepoError: "its owner must give you access",
                RepositoryNotFoundError: "there is no such repository, or it is private",
                RevisionNotFoundError: f"there is no revision '{revision}'",
            }
            why = next((text for case, text in cases.items() if isinstance(problem, case)), None) or _reason(problem)
            message = f"'{place}' cannot be downloaded: {why}"
            raise MetablockError(message, f"see https://huggingface.co/{repository}") from None
        digest = path.resolve().name  # the hub's cache names a large file by the SHA-256 that the hub reports
        if re.fullmatch("[0-9a-f]{64}", digest) and (actual := checksum(path)) != digest:
            if path == cached:
                remedy = "remove this file of the hub's cache, and try again"
            else:
                path.resolve().unlink()
                remedy = "the file was removed; try again"
            raise MetablockError(f"{path}: the checksum is {actual[:16]}..., not {digest[:16]}", remedy)
        return path
    raise MetablockError(f"'{repository}' has no {file or ' or '.join(FILES)}", f"name the file: hf:{repository}:FILE")


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name, revision=revision)
    return Path(path) if isinstance(path, str) else None


# Addresses


def _address(place: str) -> Path:
    """The file of an address, in a folder of the address in torch.hub's cache; downloads it unless it is there and verifies."""
    from torch.hub import get_dir

    url, digest = address_parts(place)
    try:
        parsed = urlparse(url)
        host = parsed.hostname
    except ValueError:
        host = None
    if not host:
        raise MetablockError(f"'{url}' is no address", f"write {SECURE}HOST/FILE")
    name = re.sub(r"[^\w.-]", "_", unquote(Path(parsed.path).name)).lstrip(".")[-100:] or "weights"
    named = _NAMED.search(name)
    if not digest and named and not named[1].isdecimal():
        digest = named[1]
    hint = digest or (named[1] if named else "")  # digits alone are a date, unless a file has them as its checksum
    cache = Path(get_dir()) / "checkpoints"
    path = cache / "metablock" / sha256(f"{url}#{digest}".encode()).hexdigest()[:16] / name
    if path.is_file() and (checksum(path).startswith(digest) if digest else whole(path)):
        return path
    if hint and (cache / name).is_file() and checksum(cache / name).startswith(hint):  # torch knows a file by its name alone
        return cache / name
    _download(url, path, digest)
    return path


def _download(url: str, path: Path, digest: str) -> None:
    """Brings an address to a file, whole and verified, or raises MetablockError and leaves nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            temporary = Path(folder) / path.name
            kind = fetch(url, temporary)
            actual = checksum(temporary)
            right = actual.startswith(digest)
            if (kind == "text/html" or is_page(temporary)) and not (digest and right):
                message = f"'{url}' cannot be downloaded: the server gives a page, not a file"
                raise MetablockError(message, "see it in a browser (a login?), and give the file: --weights FILE")
            if not right:
                message = f"{url}: the checksum is {actual[:16]}..., not {digest[:16]}"
                raise MetablockError(
                    message, "nothing was stored; if the name holds no checksum, append #sha256= and the right one"
                )
            if not digest and not whole(temporary):
                raise MetablockError(f"'{url}' cannot be downloaded: the file is cut off, or no checkpoint", "try again")
            os.replace(temporary, path)
    except MetablockError:
        raise
    except Exception as problem:  # urllib and sockets raise many types
        message = f"'{url}' cannot be downloaded: {_reason(problem)}"
        raise MetablockError(message, "give a file: --weights FILE") from None


def fetch(url: str, path: Path) -> str:
    """Writes what an address gives to a file; gives the type that the server states, ``"text/html"``.

    Raises:
        MetablockError: fewer bytes came than the server states.
        OSError: the server or the disk fails; other exceptions of urllib.
    """
    with urlopen(Request(url, headers={"User-Agent": "metablock"}), timeout=_SILENCE) as answer:
        with path.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        stated = answer.headers.get("Content-Length", "")
        size = path.stat().st_size
        if stated.isdecimal() and size != int(stated):
            raise MetablockError(f"'{url}' cannot be downloaded: cut off after {size:,} of {int(stated):,} bytes", "try again")
        return str(answer.headers.get_content_type()) if "Content-Type" in answer.headers else ""


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "empty").write_bytes(b"")
    ...     checksum(Path(folder) / "empty")[:16]
    'e3b0c44298fc1c14'
    """
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _reason(problem: BaseException) -> str:
    """Why a download failed, in our words."""
    if isinstance(problem, URLError) and not isinstance(problem, HTTPError) and isinstance(problem.reason, BaseException):
        return _reason(problem.reason)
    answer = getattr(problem, "response", problem)
    status = getattr(answer, "status_code", getattr(answer, "code", None))
    if isinstance(status, int):
        meaning = {401: "access is denied", 403: "access is denied", 404: "there is no such file"}.get(status, "the server fails")
        return f"{meaning} (HTTP {status})"
    cases: dict[type[BaseException], str] = {
        socket.gaierror: "there is no such host, or no network",
        ConnectionRefusedError: "the server refuses the connection",
        TimeoutError: "the server does not answer",
        ssl.SSLError: "the server has no valid certificate",
        ConnectionError: "the connection was cut off",
    }
    for case, text in cases.items():
        if isinstance(problem, case):
            return text
    strerror = problem.strerror if isinstance(problem, OSError) and isinstance(problem.errno, int) else None
    return strerror or "the connection failed"
