"""A CUDA device that is not there: torch and Triton see one H200, and tensors on it have sizes but no data."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch._subclasses import fake_tensor

from . import attention


class H200:
    """What ``torch.cuda.get_device_properties`` says of an H200."""

    name = "NVIDIA H200"
    major, minor = 9, 0
    multi_processor_count = 132
    total_memory = 141 * 2**30
    warp_size = 32
    regs_per_multiprocessor = 65536
    max_threads_per_multi_processor = 2048
    max_threads_per_block = 1024
    shared_memory_per_block = 49152
    shared_memory_per_block_optin = 232448
    shared_memory_per_multiprocessor = 233472
    L2_cache_size = 60 * 2**20
    gcnArchName = ""  # noqa: N815 (torch reads it by this name)
    is_integrated = 0
    is_multi_gpu_board = 0
    uuid = "0"


# Modelled: bytes and operations a second, and the least time of a launch.
BANDWIDTH, PEAK_BF16, PEAK_FP32, LAUNCH = 4.3e12, 790e12, 50e12, 1.5e-6

_KEEP: list[object] = []


def install() -> fake_tensor.FakeTensorMode:
    """Replaces CUDA in this process, for good. Returns the mode in which tensors on ``cuda:0`` can be made.

    Import timm and metablock before. Needs Triton, and a build of torch without CUDA.
    """
    if torch.version.cuda is not None:
        raise SystemExit("the made-up device needs a build of torch without CUDA")
    ctypes.CDLL(str(_guard())).install()
    _replace_cuda()
    _replace_triton()
    library = torch.library.Library("aten", "IMPL")
    # Inductor's constant folding makes tensors of one element "on the GPU": they lie in memory here.
    library.impl("empty.memory_format", _empty, "CUDA")
    library.impl("empty_strided", _empty_strided, "CUDA")
    attention.install(library)
    _KEEP.append(library)
    fake_tensor.FakeTensorMode.avoid_device_init = property(lambda self: True)  # type: ignore[assignment, method-assign]
    # cuDNN's choice of a memory format; without CUDA torch answers "contiguous".
    c: Any = torch._C
    c._select_conv_backend = lambda *args, **kwargs: c._ConvBackend.Cudnn
    c._conv_determine_backend_memory_format = _convolution_format
    torch.autograd.set_multithreading_enabled(False)  # a backward of another thread would not see the mode
    return fake_tensor.FakeTensorMode()


def _guard() -> Path:
    """The compiled guard.cpp: in the user's cache, or in a temporary folder where that cannot be written to."""
    source = Path(__file__).with_name("guard.cpp")
    key = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metablock" / "gpu_proxy"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError:
        cache = Path(tempfile.mkdtemp())
    library = cache / f"guard_{key}.so"
    if not library.exists():
        home = Path(torch.__file__).parent
        part = library.with_suffix(f".{os.getpid()}")
        flags = ["-O0", "-shared", "-fPIC", "-std=c++20", f"-I{home / 'include'}", f"-L{home / 'lib'}"]
        command = [os.environ.get("CXX", "g++"), *flags, str(source), "-o", str(part), "-lc10", "-ltorch_cpu"]
        subprocess.run(command, check=True)
        part.replace(library)
    return library


def _replace_cuda() -> None:
    properties = H200()
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: (properties.major, properties.minor),
        "get_device_name": lambda device=None: properties.name,
        "is_bf16_supported": lambda *args, **kwargs: True,
        "synchronize": lambda *args: None,
        "memory_allocated": lambda *args: 0,
        "mem_get_info": lambda *args: (140 * 2**30, 141 * 2**30),
        "get_rng_state": lambda *args: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *args: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.version.cuda = "12.8"

    from torch._dynamo.device_interface import CudaInterface

    same = ("current_device", "set_device", "device_count", "synchronize", "get_device_properties", "memory_allocated")
    for name in (*same, "is_bf16_supported"):
        setattr(CudaInterface, name, staticmethod(answers[name]))
    for name in ("exchange_device", "maybe_exchange_device", "get_raw_stream"):
        setattr(CudaInterface, name, staticmethod(lambda index: 0))
    worker: Any = CudaInterface.Worker
    worker.current_device = staticmethod(answers["current_device"])
    worker.get_device_properties = staticmethod(answers["get_device_properties"])


def _replace_triton() -> None:
    import triton
    from triton.backends.compiler import GPUTarget

    class Driver:
        """Triton's driver of the H200: kernels are written for it and never loaded."""

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", 90, 32)

        def get_current_device(self) -> int:
            return 0

        def set_current_device(self, device: int) -> None:
            pass

        def get_current_stream(self, device: int = 0) -> int:
            return 0

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cuda", 0)

        def get_device_interface(self) -> Any:
            return torch.cuda

        def is_active(self) -> bool:
            return True

    triton.runtime.driver.set_active(Driver())


def _empty(
    size: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None, memory_format: Any = None
):
    return torch.empty(size, dtype=dtype, device="cpu")


def _empty_strided(size: Any, stride: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None):
    return torch.empty_strided(size, stride, dtype=dtype, device="cpu")


def _convolution_format(x: torch.Tensor, weight: torch.Tensor, backend: object) -> torch.memory_format:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.dim())
    if last and any(t.is_contiguous(memory_format=last) and not t.is_contiguous() for t in (x, weight)):
        return last
    return torch.contiguous_format
