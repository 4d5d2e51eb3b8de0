"""Eager networks need no compiler: a process that builds and runs one does not import it; one that compiles keeps it out as torch does."""

from __future__ import annotations

import subprocess
import sys

import torch

from metablock.backend.without_dynamo import constant_result


def test_building_and_running_import_no_dynamo() -> None:
    code = (
        "import sys, torch, metablock\n"
        "model = metablock.build(metablock.load_text('name: n\\ninput: image(3, 8)\\nmodel: conv(4, 3) >> relu >> global_pool >> linear(2)'))\n"
        "model(torch.zeros(2, 3, 8, 8)).sum().backward()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_constant_result_is_marked_as_torch_marks_it() -> None:
    assert vars(constant_result(lambda: 0)) == vars(torch.compiler.assume_constant_result(lambda: 0))
