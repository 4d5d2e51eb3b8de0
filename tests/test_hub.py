"""Checkpoints from a hub and from addresses: brought once, checked, and every way it can go wrong."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest
import torch
from cases import SPECS
from safetensors.torch import save

import metablock
import metablock.weights.hub as hub_module
from metablock.language.load import load_text
from metablock.weights.hub import bring, is_place

DIGEST = "d1635700"
SPEC = """
name: small
input: image(3, 8)
classes: 5
stem: conv(6, 1)
stages: {body: relu}
head: global_pool >> linear(classes)
variants: {a: {}, b: {}, c: {}}
checkpoints:
  - [variant, timm, official]
  - [a, me/safe, https://example.org/small-d1635700.pth]
  - [b, "-", "https://example.org/small.pth#sha256=d1635700"]
"""
COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """A hub on this machine: its files by ``repository/file``, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.reply(body=True)

    def reply(self, body: bool) -> None:
        owner, name, _, _, *file = self.path.strip("/").split("/")
        key = f"{owner}/{name}/{'/'.join(file)}"
        if key not in self.server.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if owner == "me" else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.server.files[key]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{self.server.digests.get(key) or hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}" + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return metablock.build(load_text(SPEC), seed=7).state_dict()


def pickled(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def loaded(weights: object, spec: str = SPEC, variant: str = "a") -> dict[str, torch.Tensor]:
    return metablock.build(load_text(spec), variant=variant, weights=weights).state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_brought_once(hub: Hub, state: dict) -> None:
    hub.files["me/safe/model.safetensors"] = save(state)
    for weights in ("timm", True, "hf:me/safe", "hf:me/safe:model.safetensors", "hf:me/safe@main"):
        assert same(loaded(weights), state)
    assert hub.asked == ["/me/safe/resolve/main/model.safetensors"]


def test_safetensors_first(hub: Hub, state: dict) -> None:
    hub.files["me/old/pytorch_model.bin"] = pickled(state)
    assert same(loaded("hf:me/old"), state)
    hub.files["me/both/pytorch_model.bin"] = pickled({key: tensor + 1 for key, tensor in state.items()})
    hub.files["me/both/model.safetensors"] = save(state)
    assert same(loaded("hf:me/both"), state)


def test_adapted_on_the_way(hub: Hub, state: dict) -> None:
    hub.files["me/safe/model.safetensors"] = save(state)
    model = metablock.build(load_text(SPEC), classes=2, input=(1, 8, 8), weights=True)
    assert len(model.loaded.adapted) == 3


def test_a_wrong_checksum(hub: Hub, state: dict) -> None:
    hub.files["me/safe/model.safetensors"] = save(state)
    hub.digests["me/safe/model.safetensors"] = "0" * 64
    with pytest.raises(
        metablock.MetablockError, match=r"the checksum is [0-9a-f]{16}\.\.\., not 0000000000000000\n  the file was removed"
    ):
        loaded("timm")
    del hub.digests["me/safe/model.safetensors"]
    assert same(loaded("timm"), state)


class Malicious:
    def __reduce__(self) -> tuple:
        return print, ("code was run",)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.safetensors", b"", "damaged, or not a checkpoint"),
        ("model.safetensors", save({"a": torch.ones(100)})[:-30], "damaged, or not a checkpoint"),
        ("model.safetensors", save({"a": torch.ones(100)}), "the weights do not fit 'small'"),
        ("pytorch_model.bin", pickled({"a": torch.ones(9)})[:-99], "damaged, or not a checkpoint"),
        ("pytorch_model.bin", pickled({"a": Malicious()}), r"holds more than data \(code in it was not run\)"),
        ("other.bin", b"x", r"'me/bad' has no model.safetensors or pytorch_model.bin\n  name the file: hf:me/bad:FILE"),
    ],
)
def test_bad_files(hub: Hub, capsys, file: str, content: bytes, says: str) -> None:
    hub.files[f"me/bad/{file}"] = content
    with pytest.raises(metablock.MetablockError, match=says):
        loaded("hf:me/bad")
    assert "code was run" not in capsys.readouterr().out


def test_what_is_not_there(hub: Hub) -> None:
    with pytest.raises(metablock.MetablockError, match="'nobody/none' cannot be downloaded: there is no such repository"):
        loaded("hf:nobody/none")
    for place in ("no such place", "..", "", "a/b/c"):
        with pytest.raises(
            metablock.MetablockError, match=f"'{re.escape(place)}' is no name of a repository\n  write hf:OWNER/NAME"
        ):
            loaded(f"hf:{place}")
    with pytest.raises(metablock.MetablockError, match="'b' names no checkpoint of 'timm'\n  there is: official"):
        loaded("timm", variant="b")
    with pytest.raises(metablock.MetablockError, match=r"'c' names no checkpoints\n  give a file, `hf:OWNER/NAME`"):
        loaded(True, variant="c")
    hub.shutdown()
    hub.server_close()


# Addresses


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict) -> tuple[Path, list[str]]:
    """What an address gives: a file that is copied; the network is not there."""
    source, asked = tmp_path / "source.pth", []
    source.write_bytes(pickled({"model": state}))

    def download(url: str, path: Path) -> str:
        asked.append(url)
        if "none" in url:
            raise HTTPError(url, 404, "Not Found", Message(), None)
        shutil.copy(source, path)
        return ""

    monkeypatch.setattr(hub_module, "fetch", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return source, asked


@pytest.mark.parametrize("variant", ["a", "b"])
def test_an_address_with_a_checksum(web: tuple[Path, list[str]], state: dict, variant: str) -> None:
    source, asked = web
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    spec = SPEC.replace(DIGEST, digest[:8] if variant == "a" else digest)
    for _ in range(2):
        assert same(loaded("official", spec, variant), state)
    assert len(asked) == 1
    wrong = SPEC.replace(DIGEST, "deadbeef")
    with pytest.raises(metablock.MetablockError, match="the checksum is"):
        loaded("official", wrong, variant)


def test_an_address(web: tuple[Path, list[str]], state: dict) -> None:
    assert same(loaded("https://example.org/any.pth"), state)
    with pytest.raises(
        metablock.MetablockError, match=r"'https://example.org/none.pth' cannot be downloaded: there is no such file \(HTTP 404\)"
    ):
        loaded("https://example.org/none.pth")


@pytest.mark.parametrize("place", ["https://[bad/x.pth", "https:///x.pth"])
def test_no_address(web: tuple[Path, list[str]], place: str) -> None:
    with pytest.raises(metablock.MetablockError, match=rf"'{re.escape(place)}' is no address\n  write https://HOST/FILE"):
        bring(place, load_text(SPEC))


def test_two_addresses_with_one_name(web: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is kept by the whole address, not by its last part."""
    asked: list[str] = []

    def download(url: str, path: Path) -> str:
        asked.append(url)
        path.write_bytes(pickled({"url": len(asked)}))
        return ""

    monkeypatch.setattr(hub_module, "fetch", download)
    places = [f"https://{host}/model.pth{query}" for host in ("a.example/one", "b.example/two") for query in ("", "?v=2")]
    spec = load_text(SPEC)
    paths = [bring(place, spec) for place in places]
    assert len(set(paths)) == 4 and {path.name for path in paths} == {"model.pth"}
    assert paths == [bring(place, spec) for place in places] and asked == places
    for place in ("https://a.example/", "https://a.example/..", "https://a.example/%2e%2e%2fx", f"https://a.example/{'n' * 300}"):
        assert "metablock" in bring(place, spec).parts


def test_a_checksum_that_does_not_fit_deletes_nothing_that_was_there(web: tuple[Path, list[str]], tmp_path: Path) -> None:
    source, asked = web
    spec = load_text(SPEC)
    plain = bring("https://b.example/two/model.pth", spec)
    with pytest.raises(metablock.MetablockError, match=r"the checksum is [0-9a-f]{16}\.\.\., not 0000000000000000\n  nothing"):
        bring(f"https://b.example/two/model.pth#sha256={'0' * 64}", spec)
    assert plain.is_file() and files(tmp_path / "hub") == [plain]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    right = bring(f"https://b.example/two/model.pth#sha256={digest.upper()}", spec)
    right.write_bytes(b"damaged")
    assert bring(f"https://b.example/two/model.pth#sha256={digest}", spec) == right
    assert right.read_bytes() == source.read_bytes() and len(asked) == 4


def test_a_date_is_no_checksum(web: tuple[Path, list[str]], tmp_path: Path) -> None:
    source, asked = web
    for name in ("swin_tiny-20220317.pth", "upernet-12345678.pth", "vit-0123456789.pth"):
        assert bring(f"https://example.org/{name}", load_text(SPEC)).read_bytes() == source.read_bytes()
    assert len(asked) == 3


def test_what_torch_stored_is_used_where_its_checksum_is_right(web: tuple[Path, list[str]], tmp_path: Path) -> None:
    source, asked = web
    spec = load_text(SPEC)
    name = f"net-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.pth"
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for content in (source.read_bytes(), b"another file"):
        (folder / name).write_bytes(content)
        (folder / "plain.pth").write_bytes(content)
        assert (bring(f"https://example.org/{name}", spec) == folder / name) == (content == source.read_bytes())
        assert bring("https://example.org/plain.pth", spec) != folder / "plain.pth"
        assert (folder / name).read_bytes() == (folder / "plain.pth").read_bytes() == content
    assert asked == ["https://example.org/plain.pth", f"https://example.org/{name}"]


@pytest.mark.parametrize(
    "mark", ["sha256=", "sha256=xyz", "sha256=abc", f"sha256={'0' * 65}", "md5=00", "sha256:00000000", "main", ""]
)
def test_a_malformed_checksum(web: tuple[Path, list[str]], mark: str) -> None:
    with pytest.raises(metablock.MetablockError, match=r"no checksum after the `#`\n  write #sha256="):
        bring(f"https://example.org/net.pth#{mark}", load_text(SPEC))
    assert not web[1]


@pytest.mark.parametrize("content", ["half", "text", "safetensors", "error", "interrupt"])
def test_a_partial_download_leaves_nothing(
    web: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    source, _ = web

    def download(url: str, path: Path) -> str:
        whole = save({"a": torch.ones(9)}) if content == "safetensors" else source.read_bytes()
        path.write_bytes(b"" if content == "text" else whole[: len(whole) // 2 + 40])
        if content == "error":
            raise ConnectionResetError("reset by peer")
        if content == "interrupt":
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(hub_module, "fetch", download)
    wrong = KeyboardInterrupt if content == "interrupt" else metablock.MetablockError
    says = {"interrupt": "^$", "error": "cannot be downloaded: the connection was cut off"}.get(
        content, "cannot be downloaded: the file is cut off"
    )
    with pytest.raises(wrong, match=says):
        bring("https://example.org/net.pth", load_text(SPEC))
    assert files(tmp_path / "hub") == []


LEGACY = io.BytesIO()
torch.save({"a": torch.ones(100)}, LEGACY, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("content", "kind", "missing", "says"),
    [
        (LEGACY.getvalue()[:600], "application/octet-stream", 600, r"cut off after 600 of 1,200 bytes\n  try again"),
        (b"<!doctype html><title>Sign in</title>", "text/html; charset=utf-8", 0, "the server gives a page, not a file"),
        (b"Sign in", "text/html", 0, "the server gives a page, not a file"),
        (b"\xef\xbb\xbf\n<html>", "application/octet-stream", 0, "the server gives a page, not a file"),
        (LEGACY.getvalue(), "text/plain", 0, ""),
    ],
)
def test_what_a_server_may_give_instead_of_the_file(tmp_path: Path, content: bytes, kind: str, missing: int, says: str) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, path = f"http://127.0.0.1:{server.server_port}/net.pth", tmp_path / "net.pth"
        try:
            if says:
                with pytest.raises(metablock.MetablockError, match=f"'{url}' cannot be downloaded: {says}"):
                    hub_module._download(url, path, "")
            else:
                hub_module._download(url, path, "")
        finally:
            server.shutdown()
    assert files(tmp_path) == ([] if says else [path])
    with pytest.raises(metablock.MetablockError, match="cannot be downloaded: the server refuses the connection"):
        hub_module._download(url, path, "")


def test_a_page_that_was_stored_is_fetched_again(web: tuple[Path, list[str]]) -> None:
    source, asked = web
    path = bring("https://example.org/net.pth", load_text(SPEC))
    path.write_bytes(b"<html>")
    assert bring("https://example.org/net.pth", load_text(SPEC)).read_bytes() == source.read_bytes() and len(asked) == 2


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_two_downloads_at_once(web: tuple[Path, list[str]], state: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = web
    both = threading.Barrier(2)

    def download(url: str, path: Path) -> str:
        content = source.read_bytes()
        with path.open("wb") as file:
            file.write(content[:100])
            file.flush()
            both.wait(30)
            file.write(content[100:])
        return ""

    monkeypatch.setattr(hub_module, "fetch", download)
    paths: list[Path] = []
    work = [threading.Thread(target=lambda: paths.append(bring("https://e.org/net.pth", load_text(SPEC)))) for _ in range(2)]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert len(paths) == 2 and files(tmp_path / "hub") == [paths[0]]
    assert paths[0].read_bytes() == source.read_bytes()


def test_a_damaged_file_of_the_hubs_cache_stays(hub: Hub, state: dict) -> None:
    hub.files["me/safe/model.safetensors"] = save(state)
    path = bring("hf:me/safe", load_text(SPEC))
    path.resolve().write_bytes(b"damaged")
    with pytest.raises(metablock.MetablockError, match=r"(?s)the checksum is .*remove this file of the hub's cache"):
        bring("hf:me/safe", load_text(SPEC))
    assert path.read_bytes() == b"damaged"


def test_places() -> None:
    assert all(map(is_place, (True, "timm", "official", "hf:a/b", "https://x.y/z.pth")))
    assert not any(map(is_place, (False, None, "x.pth", "./timm", Path("timm"), {})))


def test_the_catalogues_places() -> None:
    """Every one is a repository of the hub or an address."""
    for name, spec in SPECS.items():
        for row in spec.checkpoints.rows:
            assert row[0] in spec.variants, name
            for cell in row[1:]:
                assert cell == "-" or cell.startswith("https://") or cell.count("/") == 1, cell
    assert sum(bool(spec.checkpoints.rows) for spec in SPECS.values()) >= 25


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(metablock.MetablockError, match=r"on the Hugging Face hub\n  from a checkout: pip install '\.\[hub\]'"):
        bring("hf:a/b", load_text(SPEC))
