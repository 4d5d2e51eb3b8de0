"""``metablock build``: what is built, counted, compiled, run and printed."""

from __future__ import annotations

import json
import os
import re
from functools import partial

import pytest
import torch

import metablock
from metablock import api
from metablock.backend import compiler, costs
from metablock.report.models import BuildReport

TWO = """\
name: two
input:
  a: image(3, 32)
  b: image(1, 32)
let:
  block: res(group_norm(1) >> pool)
shared:
  mix: conv(8, 1) >> gelu
stages:
  depth: [2, 1]
  body: depth * block
model: |
  a, b ->
  x = (a || b) >> conv(8, 4, stride=4)
  y = x >> stages
  y = y >> mix >> mix
  return logits = y >> global_pool >> frozen(linear(classes)), features = y
"""


@pytest.fixture
def eager(monkeypatch):
    """Graphs are made and counted, and run as they are: no C++ is compiled."""
    monkeypatch.setattr("metablock.report.measure.compile", partial(compiler.compile, backend="eager"))


@pytest.fixture
def report(run):
    def of(*args: object) -> BuildReport:
        result = run("build", "--json", *args)
        assert result.exit_code == 0, result.stderr
        return BuildReport.model_validate_json(result.stdout)

    return of


def test_the_table(run, tiny, eager, terminal):
    result = run("build", tiny)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "tiny_a: A [small] network"
    table = {line[:9].strip(): line[9:].split() for line in lines if line[:9].strip()}
    assert table["stem"][-5:] == ["8", "x", "8x8", "392", "24,576"]
    assert table["stage 0"][:2] == ["2", "*"]
    assert table["stage 1"][:2] == ["down", "conv(16,"]
    assert table["head"][-5:] == ["vector", "of", "1000", "17,032", "16,000"]
    assert table["total"] == ["20,352", "108,160"]
    assert table["official"] == ["tiny_a", "20,352", "108,160"]
    assert table["paper"] == ["tiny_a,", "top1", "70.1", "0.02M", "0.1M"]
    assert table["graphs"] == ["1", "made,", "for", "3", "distinct", "blocks"]
    assert re.fullmatch(r"built in \S+ s, compiled in \S+ s \(first pass included\)", " ".join(table["time"]))
    assert re.fullmatch(r"\S+ m?s, median of \d passes, batch 1, float32, on cpu", " ".join(table["latency"]))
    assert table["output"] == ["1x1000"]


def test_the_fastest_way_to_compile(run, report, tiny, monkeypatch):
    def measure(model, inputs):
        if len(inputs[0]) == 3:
            raise RuntimeError("no room")
        return (1.0 if model.stem.weight.stride()[1] == 1 else 2.0), 0.5

    monkeypatch.setenv("METABLOCK_CACHE", "0")
    monkeypatch.setattr("metablock.backend.tune.measure", measure)
    monkeypatch.setattr(compiler, "compile", partial(compiler.compile, backend="eager"))
    tuned = report(tiny, "--tune").tuned
    assert [row.seconds for row in tuned.rows] == sorted(row.seconds for row in tuned.rows)
    assert tuned.rows[0].channels_last and not tuned.rows[-1].channels_last and not tuned.recalled
    text = run("build", tiny, "--tune").stdout
    assert re.search(r"way +kernels in memory +mode +a pass +ratio\n─+\n\w+ +channels-last +default +1\.00 s +1\.00\n", text)
    failed = run("build", tiny, "--tune", "--batch", 3)
    assert failed.exit_code == 2
    assert re.search(r"compiles in no way: .*: no room\n  leave tuning out", failed.stderr)


def test_the_numbers_are_the_models(report, tiny):
    built = report(tiny, "--variant", "tiny_b", "--no-compile", "--batch", 2, "--input", "3x48x32", "--classes", 7)
    model = metablock.build(tiny, variant="tiny_b", input="3x48x32", classes=7, device="meta")
    macs = costs.macs(model, torch.empty(1, 3, 48, 32, device="meta"))
    assert (built.totals.trainable, built.totals.frozen) == costs.parameters(model)
    assert built.totals.macs == macs[""] == sum(row.macs for row in built.rows)
    assert built.totals.parameters == sum(row.parameters for row in built.rows)
    assert [row.path for row in built.rows] == ["stem", "stages.0", "stages.1", "head"]
    assert [row.shapes for row in built.rows] == [((2, 16, 12, 8),), ((2, 16, 12, 8),), ((2, 32, 6, 4),), ((2, 7),)]
    assert (built.inputs, built.outputs) == (((2, 3, 48, 32),), ((2, 7),))
    assert built.figures is None, "the facts have no row for this variant"
    assert built.graphs.compiled is built.seconds.compile is None
    assert built.graphs.distinct == 3
    assert built.seconds.latency is not None
    assert built.edits == ("classes = 7", "input = 3x48x32")


def test_figures_of_an_edited_network_are_of_the_unedited_one(run, report, tiny):
    edits = ("--edit", "token = attention(2)", "--edit", "stages[1].depth = 2")
    built = report(tiny, "--no-compile", *edits)
    assert built.edits == edits[1::2]
    assert built.figures is not None
    assert built.figures.edited
    assert built.figures.exact == {"params": 20352, "macs": 108160}
    assert built.figures.reported == {"params": "0.02M", "macs": "0.1M", "top1": "70.1"}
    assert built.totals.parameters > 20352
    text = run("build", tiny, "--device", "meta", *edits).stdout
    assert "\n  token = attention(2)\n  stages[1].depth = 2\n" in text
    assert re.search(r"\nofficial  tiny_a, unedited +20,352  108,160\n", text)
    plain = report(tiny, "--no-compile")
    assert plain.figures is not None
    assert not plain.figures.edited
    assert plain.spec_hash != built.spec_hash


def test_several_inputs_and_outputs_shared_and_frozen_parts(run, report, tmp_path, eager):
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    built = report(path, "--batch", 2)
    assert built.inputs == ((2, 3, 32, 32), (2, 1, 32, 32))
    assert built.outputs == ((2, 1000), (2, 8, 8, 8))
    assert built.totals.frozen == 9000
    assert {row.name for row in built.rows} >= {"shared.mix", "stage 0", "stage 1"}
    assert built.title is built.figures is built.variant is None
    assert re.search(r"\n  trainable +\S+ *\n", run("build", path, "--device", "meta").stdout)
    result = run("build", path, "--input", "3x32x32")
    assert (result.exit_code, result.stderr) == (
        2, "the input of 'two' cannot be replaced: it has 2\n  set their sizes in the spec\n",
    )  # fmt: skip


def test_a_name_of_the_catalogue_on_meta(run, report, terminal):
    """Nothing is allocated, nothing runs: the table is there all the same, and no number is cut at 80 columns."""
    built = report("poolformer_s12", "--device", "meta")
    assert (built.totals.parameters, built.totals.macs) == (11915176, 1812267008)
    assert built.seconds.latency is built.seconds.compile is None
    text = run("build", "vit_tiny_patch16_224", "--device", "meta").stdout
    assert max(map(len, text.splitlines()[1:])) <= 80
    assert text.count("1,253,683,200") == 2
    assert "1,224,589,824" in text
    assert "latency" not in text


def test_stdin(run, tiny):
    result = run("build", "-", "--no-compile", input=tiny.read_text())
    assert result.exit_code == 0
    assert "tiny_a: A [small] network" in result.stdout


def test_seed(report, tiny, tmp_path):
    from safetensors.torch import load_file

    files = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        report(tiny, "--no-compile", "--seed", seed, "-o", file)
    first, again, other = (load_file(file)["stem.weight"] for file in files)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dtype(report, tiny, tmp_path):
    built = report(tiny, "--no-compile", "--dtype", "float64", "-o", tmp_path / "x.safetensors")
    assert built.dtype == "float64"
    from safetensors.torch import load_file

    assert load_file(tmp_path / "x.safetensors")["stem.weight"].dtype == torch.float64


# What is refused


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--device", "cuda:99"], "there is no device 'cuda:99' here\n  there is: cpu"),
        (["--device", "gpu"], "unknown device 'gpu'\n  write cpu, cuda, cuda:1, mps or meta"),
        (["--dtype", "float23"], "unknown dtype 'float23'\n  did you mean 'float32'?"),
        (["--dtype", "int8"], "unknown dtype 'int8'\n  there are float32, float64, float16, bfloat16"),
        (["--input", "3xx2"], "'3xx2' is no input size\n  write channels and extents"),
        (["--input", "3x0x2"], "'3x0x2' is no input size"),
        (["--input", "3x2x2"], ":10:7: "),
        (["--classes", "0"], "--classes"),
        (["--seed", "-1"], "--seed"),
        (["--batch", "0"], "--batch"),
        (["--batch", "x"], "--batch"),
        (["--edit"], "--edit"),
        (["--edit", "tokn = pool"], "--edit:1:1: 'tokn' names no slot or column of 'tiny'"),
        (["--edit", "token = atention(2)", "--edit", "norm = nrm"], "unknown operator 'atention'"),
        (["--edit", "token = atention(2)", "--edit", "norm = nrm"], "unknown name 'nrm'"),
        (["--edit", "token = ("], "--edit:1:"),
        (["--variant", "tiny_c"], "'tiny' has no variant 'tiny_c'"),
        (["--weights", "none.pth"], "none.pth: no such file"),
        (["--no-such"], "--no-such"),
        (["--device", "meta", "-o", "x.safetensors"], "there are no weights on 'meta'"),
        (["--device", "meta", "--weights", "x.pth"], "there are no weights on 'meta'"),
        (["--tune"], "--tune measures compiled networks\n  leave out --no-compile"),
        (["--tune", "--compile", "--device", "meta"], "--tune measures compiled networks\n  leave out --device meta"),
        (["--tune", "fast"], "fast"),
    ],
)
def test_refused(run, tiny, args, says):
    result = run("build", tiny, "--no-compile", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert says in result.stderr


@pytest.mark.parametrize("name", ["nothing.yaml", "nothing", "./nothing"])
def test_no_such_spec(run, name):
    result = run("build", name)
    assert result.exit_code == 2
    assert "nothing" in result.stderr


def test_a_broken_spec(run, broken):
    result = run("build", broken)
    assert result.exit_code == 2
    assert result.stderr == run("check", broken).stderr


@pytest.mark.parametrize("args", [("--batch", 10**7), ("--edit", "dim = 300000"), ("--input", "3x60000x60000")])
def test_caps(run, tiny, monkeypatch, args):
    """What is too large is refused before weights are built."""

    def assemble(spec, level, **more):
        assert more["device"] == "meta"
        return api.assemble(spec, level, **more)

    monkeypatch.setattr("metablock.report.build.assemble", assemble)
    result = run("build", tiny, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(r"; at most [\d,]+\n(?:    .*\n)*  --large .*lifts the limit", result.stderr)


def test_large(run, report, tiny, monkeypatch):
    monkeypatch.setattr("metablock.report.build.MAX_ELEMENTS", 1000)
    assert run("build", tiny, "--no-compile").exit_code == 2
    assert report(tiny, "--no-compile", "--large").outputs == ((1, 1000),)


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (
            RuntimeError("no C++ compiler\nand much more"),
            "compiling failed on cpu in float32: no C++ compiler\n  --no-compile runs it",
        ),
        (MemoryError(), "compiling takes more memory than cpu has\n  lower --batch or --input"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "compiling takes more memory"),
    ],
)
def test_compilation_fails(run, tiny, monkeypatch, raised, says):
    def fail(model):
        raise raised

    monkeypatch.setattr("metablock.report.measure.compile", fail)
    result = run("build", tiny)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(says)
    assert "much more" not in result.stderr


# Files


def test_written_and_read_again(run, report, tiny, tmp_path):
    from safetensors import safe_open

    from metablock.language.format import spec_hash
    from metablock.language.load import load_text

    file = tmp_path / "tiny.safetensors"
    built = report(tiny, "--no-compile", "--edit", "token = attention(2)", "--classes", 10, "--seed", 3, "-o", file)
    assert built.written == str(file)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    assert about["spec_hash"] == built.spec_hash == spec_hash(load_text(about["spec"]))
    model = metablock.build(load_text(about["spec"]), weights=file)
    again = metablock.build(tiny, edits=["token = attention(2)"], classes=10, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    loaded = run("build", tiny, "--no-compile", "--edit", "token = attention(2)", "--classes", 10, "--weights", file)
    assert re.search(r"\nweights   \d+ tensors by the names of 'ours'\n", loaded.stdout)
    misfit = run("build", tiny, "--no-compile", "--weights", file)
    assert misfit.exit_code == 2
    assert "the weights do not fit 'tiny'" in misfit.stderr


def test_damaged_weights(run, tiny, tmp_path):
    for name in ("x.safetensors", "x.pth"):
        (tmp_path / name).write_bytes(b"damaged")
        result = run("build", tiny, "--weights", tmp_path / name)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.onnxx", "cannot write '.onnxx' files\n  did you mean '.onnx'?"),
        ("x.tflite", "cannot write '.tflite' files\n  known: .safetensors, .py, .pt2, .onnx"),
        ("x.safetensor", "cannot write '.safetensor' files\n  did you mean '.safetensors'?"),
        ("x", "cannot write 'x' files"),
        ("none/x.safetensors", "there is no folder '"),
        ("folder.safetensors", "is a directory\n  name a file in it"),
    ],
)
def test_an_output_is_refused_before_any_work(run, tiny, tmp_path, monkeypatch, name, says):
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.setattr("metablock.report.build.lowered", lambda options: pytest.fail("work was done"))
    result = run("build", tiny, "-o", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_folder_that_cannot_be_written_to(run, tiny, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("metablock.writers.outputs.tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("metablock.report.build.lowered", lambda options: pytest.fail("work was done"))
    result = run("build", tiny, "-o", tmp_path / "x.safetensors")
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path / 'x.safetensors'}: cannot write there: Permission denied\n  name another folder\n"


def test_nothing_is_half_written(run, tiny, tmp_path, monkeypatch):
    """The disk is full while an older file stands there: it stays, and nothing else does."""
    file = tmp_path / "x.safetensors"
    file.write_text("older")

    def fill(tensors, path, about):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fill)
    result = run("build", tiny, "--no-compile", "-o", file)
    assert result.exit_code == 2
    hint = "nothing was written; the file that was there is unchanged: free some space, or name another folder"
    assert result.stderr == f"{file}: the disk is full\n  {hint}\n"
    assert file.read_text() == "older"
    assert sorted(os.listdir(tmp_path)) == ["tiny.yaml", "x.safetensors"]


BRANCHES = """
name: branches
input: image(3, 16)
classes: 5
let:
  block: (conv_bn(8, 3) + conv_bn(8, 1)) >> relu
stem: conv_bn(8, 3, stride=2)
stages:
  body: 2 * block
head: global_pool >> linear(classes)
"""


@pytest.fixture
def branches(tmp_path):
    path = tmp_path / "branches.yaml"
    path.write_text(BRANCHES)
    return path


def test_reparameterisation_says_what_collapsed(run, branches):
    result = run("build", branches, "--reparameterize", "--no-compile")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("deployed")]
    assert "10 parts are 3 now; parameters 1,621 -> 1,437" in line
    assert "outputs differ by" in line
    report = json.loads(run("build", branches, "--reparameterize", "--no-compile", "--json").stdout)["deployed"]
    assert [one["into"] for one in report["merged"]] == ["conv(8, 3)", "conv(8, 3)", "conv(8, 3, stride=2)"]
    assert report["params"] == [1621, 1437]
    assert report["difference"] < 1e-5


def test_reparameterisation_where_nothing_collapses(run, tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(
        "name: plain\ninput: image(3, 16)\nstages:\n  body: conv(4, 3) >> relu\nhead: global_pool >> linear(classes)\n"
    )
    assert "deployed  nothing collapses" in run("build", path, "--reparameterize", "--device", "meta").stdout


@pytest.mark.parametrize("form", [[], ["--reparameterize"]])
def test_weights_of_either_form_are_reparameterised(run, branches, tmp_path, form):
    """What was written in the form that is trained, or in the deployed one, gives the same network."""
    file = tmp_path / "w.safetensors"
    assert run("build", branches, "--seed", "3", *form, "--no-compile", "-o", file).exit_code == 0
    again = tmp_path / "again.safetensors"
    result = run("build", branches, "--reparameterize", "--no-compile", "--weights", file, "-o", again)
    assert result.exit_code == 0, result.stderr
    from safetensors.torch import load_file

    (expected,) = [metablock.reparameterize(metablock.build(branches, seed=3).eval()).state_dict()]
    written = load_file(again)
    assert expected.keys() == written.keys()
    assert all((written[key] - expected[key]).abs().max() < 1e-5 for key in written)


def test_weights_of_neither_form_are_refused(run, branches, tiny, tmp_path):
    file = tmp_path / "w.safetensors"
    run("build", tiny, "--no-compile", "-o", file)
    result = run("build", branches, "--reparameterize", "--no-compile", "--weights", file)
    assert result.exit_code == 2
    assert result.stderr.startswith("the weights do not fit 'branches'")
