"""Data sets: what they give, and every message about those that cannot be trained on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from metablock.ablation.data import Data, load_data
from metablock.ablation.labels import check_classes, labels_of
from metablock.errors import MetablockError
from metablock.front import parse_input
from metablock.shape import Feature


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits", Feature("map", 1, (16, 16)))


def test_digits(digits: Data):
    assert (len(digits.train), len(digits.val), digits.classes) == (1433, 364, 10)
    x, y = digits.train.get([0, 5, 3])
    assert (x.shape, x.dtype, y.dtype) == ((3, 1, 16, 16), torch.float32, torch.int64)
    every = digits.train.get(range(len(digits.train)))[0]
    assert abs(float(every.mean())) < 1e-4
    assert abs(float(every.std()) - 1) < 1e-3
    assert load_data("digits", Feature("map", 1, (16, 16))).fingerprint == digits.fingerprint
    assert load_data("digits").fingerprint != digits.fingerprint
    assert load_data("digits", Feature("map", 3, (8, 8))).train.get([0])[0].shape == (1, 3, 8, 8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("val", 10)):
        for label in ("cat", "dog"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                size = (40, 30) if i % 2 else (30, 40)
                Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i:03}.png")
    return tmp_path


def test_a_folder_of_pictures(pictures: Path):
    data = load_data(f"folder:{pictures}", parse_input("3x24x32"))
    assert (len(data.train), len(data.val), data.classes, data.skipped) == (120, 20, 2, ())
    x, y = data.train.get([0, 119])
    assert x.shape == (2, 3, 24, 32)
    assert y.tolist() == [0, 1]
    assert torch.equal(data.train.get([7])[0], data.train.get([7])[0])
    (pictures / "train" / "cat" / "000.png").unlink()
    assert load_data(f"folder:{pictures}", parse_input("3x24x32")).fingerprint != data.fingerprint


def test_a_folder_without_parts(pictures: Path):
    data = load_data(f"folder:{pictures / 'train'}", parse_input("1x16x16"))
    assert (len(data.train), len(data.val)) == (96, 24)
    assert data.train.get([0])[0].shape == (1, 1, 16, 16)


def test_corrupt_pictures(pictures: Path):
    bad = pictures / "train" / "cat" / "000.png"
    bad.write_bytes(bad.read_bytes()[:200])
    data = load_data(f"folder:{pictures}", parse_input("3x8x8"))
    assert data.skipped == (str(bad),)
    assert len(data.train) == 119
    for name in ("001.png", "002.png"):
        (pictures / "train" / "dog" / name).write_text("no picture")
    said = r"3 of 140 pictures in '.*' cannot be read: train/cat/000.png, train/dog/001.png.*\n  more than 1 % is too many"
    with pytest.raises(MetablockError, match=said):
        load_data(f"folder:{pictures}", parse_input("3x8x8"))


def test_bad_folders(pictures: Path, tmp_path: Path):
    with pytest.raises(MetablockError, match=r"there is no folder 'none'\n  check the path"):
        load_data("folder:none")
    with pytest.raises(MetablockError, match=r"pictures have 1 or 3 channels and two extents, not 3x8"):
        load_data(f"folder:{pictures}", parse_input("3x8"))
    (pictures / "train" / "emu").mkdir()
    with pytest.raises(MetablockError, match=r"the class folder '.*train/emu' has no pictures\n  remove it, or fill it"):
        load_data(f"folder:{pictures}")
    (pictures / "train" / "emu").rmdir()
    (pictures / "val" / "emu").mkdir()
    with pytest.raises(MetablockError, match=r"'.*val' has a class 'emu' that the training set lacks"):
        load_data(f"folder:{pictures}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetablockError, match=r"has no class folders\n  a folder a class, at least two"):
        load_data(f"folder:{tmp_path / 'empty'}")


def test_arrays(tmp_path: Path):
    x, y = np.random.default_rng(0).normal(3, 2, (50, 2, 40)), np.arange(50) % 5
    path = tmp_path / "a.npz"
    np.savez(path, x=x, y=y)
    data = load_data(f"npz:{path}")
    assert (data.input, data.classes, len(data.train), len(data.val)) == (Feature("map", 2, (40,)), 5, 40, 10)
    assert abs(float(data.train.get(range(40))[0].mean())) < 1e-5
    np.savez(path, x_train=x[:30], y_train=y[:30], x_val=x[30:], y_val=y[30:])
    assert (len(load_data(f"npz:{path}").train), len(load_data(f"npz:{path}").val)) == (30, 20)


def test_a_data_set_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    columns = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = {"img": [Image.new("RGB", (20, 20), (i * 8, 0, 0)) for i in range(30)], "fine": [i % 3 for i in range(30)]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=columns)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: splits)
    data = load_data("hf:who/what", parse_input("3x8x8"))
    assert (data.classes, len(data.train), len(data.val)) == (3, 24, 6)
    assert data.train.get([0, 1])[0].shape == (2, 3, 8, 8)

    def fails(name: str, config: str | None) -> None:
        raise ConnectionError("no way there\nfurther")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(MetablockError, match=r"'who/what' cannot be loaded: no way there\n  check the name"):
        load_data("hf:who/what")


@pytest.mark.parametrize("name", ["digit", "digits:x", "npz:", "hf:", "imagenet"])
def test_unknown_data(name: str):
    with pytest.raises(MetablockError, match=rf"unknown data set '{name}'\n  .*known: digits, folder:PATH, hf:NAME"):
        load_data(name)


def examples(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (n, 1, 4))


Y = np.arange(20) % 2
X = examples()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": X}, r"has the arrays a\n  x and y are needed"),
        ({"x": np.zeros((20, 2)), "y": Y}, r"x is \(20, 2\)\n  x is \(n, channels, extents\)"),
        ({"x": np.zeros((0, 1, 4)), "y": np.zeros(0, int)}, r"x is \(0, 1, 4\)\n.*at least one example"),
        ({"x": np.zeros((20, 1, 0)), "y": Y}, r"x is \(20, 1, 0\)"),
        ({"x": X, "y": Y[:19]}, r"y: 19 labels for 20 examples\n  each example has one"),
        (
            {"x": np.where(X > 1, np.nan, X), "y": Y},
            r"x has values that are NaN, infinite or beyond float32, for instance in example \d",
        ),
        ({"x": np.full((20, 1, 4), 1e300), "y": Y}, r"beyond float32, for instance in example 0\n  remove or replace them"),
        ({"x": X.astype(complex), "y": Y}, r"x has complex numbers\n  real and imaginary parts can be two channels"),
        ({"x": X.astype(object), "y": Y}, r"x holds Python objects, which are not read\n  save numbers"),
        ({"x": X.astype(str), "y": Y}, r"x has no numbers but <U"),
        ({"x": X, "y": Y - 1}, r"y: the label -1\n  labels count the classes from 0"),
        ({"x": X, "y": Y * 10**12}, r"y: the label 1000000000000 among 20 examples"),
        ({"x": X, "y": Y.astype(np.uint64) * np.uint64(2**63)}, r"y: the label 9223372036854775808 among 20 examples"),
        ({"x": X, "y": Y.astype(float)}, r"y: the labels are float64, not whole numbers\n  y.astype\(int\)"),
        ({"x": X, "y": Y + 0.5}, r"y: the label 0.5 is no whole number"),
        ({"x": X, "y": np.where(Y, np.nan, 0)}, r"y: the label nan is no whole number"),
        ({"x": X, "y": np.where(Y, "cat", "dog")}, r"y: the labels are words: 'dog'\n  number the classes: numpy.unique"),
        ({"x": X, "y": Y.astype("S")}, r"y: the labels are words: '0'"),
        ({"x": X, "y": Y.astype(complex)}, r"y: the labels are not whole numbers"),
        ({"x": X, "y": Y.astype(object)}, r"y holds Python objects"),
        ({"x": X, "y": Y.astype(bool)}, r"y: the labels are truth values\n  y.astype\(int\)"),
        ({"x": X, "y": np.eye(2)[Y]}, r"y: the labels have the shape \(20, 2\)\n  one number an example: y.argmax\(1\)"),
        ({"x": X, "y": Y * 2}, r"no training example has class 1\n  labels are 0 to classes - 1"),
        ({"x": X, "y": Y * 0}, r"has one class\n  at least two"),
        (
            {"x": X, "y": np.arange(20)},
            r"class 0 has 1 example, and none for training\n  a class needs two",
        ),
        ({"x_train": X, "y_train": Y, "x_val": X[:0], "y_val": Y[:0]}, r"x_val is \(0, 1, 4\)"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y + 1}, r"class 2 has 10 examples, and none for training"),
        ({"x_train": X, "y_train": Y, "x_val": X[:, :, :3], "y_val": Y}, r"x_train is \(20, 1, 4\), x_val \(20, 1, 3\)"),
    ],
)
def test_bad_arrays(arrays: dict, said: str, tmp_path: Path):
    np.savez(tmp_path / "a.npz", **arrays, allow_pickle=True)
    with pytest.raises(MetablockError, match=said):
        load_data(f"npz:{tmp_path / 'a.npz'}")


def header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", r"is not an archive of arrays, or is damaged\n  numpy.savez"),
        (header((10**12, 1, 4)) + bytes(64), r"x is said to have 16000000000000 bytes and has 64\n  the file is damaged"),
        (header((10**30,)), r"x is said to have 4\d* bytes and has 0"),
        (b"\x93NUMPY", r"is not an archive of arrays, or is damaged"),
        (b"", r"is not an archive of arrays, or is damaged"),
    ],
)
def test_damaged_archives(content: bytes, said: str, tmp_path: Path):
    path = tmp_path / "a.npz"
    if content == b"no archive":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
            archive.writestr("y.npy", content)
    with pytest.raises(MetablockError, match=said):
        load_data(f"npz:{path}")


def test_an_archive_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from metablock.ablation import arrays

    np.savez(tmp_path / "a.npz", x=X, y=Y)
    monkeypatch.setattr(arrays, "_memory", lambda: 100)
    with pytest.raises(MetablockError, match=r"x has 0 GB, more than this machine's memory"):
        load_data(f"npz:{tmp_path / 'a.npz'}")
    with pytest.raises(MetablockError, match=r"is no file\n  name a \.npz file"):
        load_data(f"npz:{tmp_path}")


def test_a_home_folder(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(pictures.parent))
    assert len(load_data(f"folder:~/{pictures.name}", parse_input("3x8x8")).train) == 120
    np.savez(pictures.parent / "a.npz", x=X, y=Y)
    assert len(load_data("npz:~/a.npz").train) == 16
    with pytest.raises(MetablockError, match=r"there is no folder '~/none'"):
        load_data("folder:~/none")
    with pytest.raises(MetablockError, match=r"there is no folder '~nobody-here/x'"):
        load_data("folder:~nobody-here/x")


def test_a_class_with_one_picture(pictures: Path):
    for path in sorted((pictures / "train" / "cat").glob("*.png"))[1:]:
        path.unlink()
    assert load_data(f"folder:{pictures}", parse_input("1x8x8")).classes == 2
    with pytest.raises(MetablockError, match=r"class 'cat' has 1 example, and none for training"):
        load_data(f"folder:{pictures / 'train'}", parse_input("1x8x8"))


def test_pictures_of_all_kinds(tmp_path: Path):
    """16 bits are scaled, not cut off; transparency, palettes and CMYK become colours."""
    from PIL import Image

    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (12, 12), dtype=np.uint8)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for mode in ("L", "LA", "P", "RGBA", "1"):
            Image.fromarray(grey).convert(mode).save(tmp_path / label / f"{mode}.png")
        Image.fromarray(grey).convert("CMYK").save(tmp_path / label / "cmyk.jpg")
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / label / "deep.png")
    for size in ("3x12x12", "1x12x12"):
        data = load_data(f"folder:{tmp_path}", parse_input(size))
        assert not data.skipped
        for split in (data.train, data.val):
            files = split.open.paths  # type: ignore[attr-defined]
            values = split.get(range(len(split)))[0]
            assert values.isfinite().all()
            for place, path in enumerate(files):
                if Path(path).name in ("deep.png", "L.png", "LA.png"):
                    mean, deviation = (0.5, 0.25) if size[0] == "1" else (0.485, 0.229)
                    assert torch.allclose(values[place, 0] * deviation + mean, torch.from_numpy(grey / 255).float(), atol=1e-3), (
                        path
                    )


def test_pictures_whose_white_is_unknown(tmp_path: Path):
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(2):
            Image.fromarray(np.full((8, 8), 0.5 + i, dtype=np.float32)).save(tmp_path / label / f"{i}.tiff")
    with pytest.raises(MetablockError, match=r"4 of 4 pictures in '.*' cannot be read: a/0.tiff"):
        load_data(f"folder:{tmp_path}", parse_input("1x8x8"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, None] * 5, "labels outside its classes"),
        ([0, -1] * 5, "labels outside its classes"),
        ([0] * 10, r"no training example has class 'b'"),
        ([0] * 9 + [1], r"class 'b' has 1 example, and none for training"),
    ],
)
def test_bad_labels_of_hugging_face(labels: list, said: str, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    columns = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b"])})
    rows = {"img": [Image.new("RGB", (8, 8))] * 10, "fine": labels}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=columns)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: splits)
    with pytest.raises(MetablockError, match=said):
        load_data("hf:who/what", parse_input("3x8x8"))


def test_labels_of_any_whole_type():
    for kind in (np.uint8, np.int16, np.uint64, ">i4"):
        result = labels_of("y", Y.astype(kind)[:, None], 20)
        assert (result.dtype, result.tolist()) == (np.int64, Y.tolist())
    with pytest.raises(MetablockError, match="there are no examples"):
        labels_of("y", np.zeros(0, int), 0)
    with pytest.raises(MetablockError, match="has no validation examples"):
        check_classes("it", Y, np.arange(20), np.arange(0), 2)
