"""Peak matrix-product rates of this machine by precision, as limits for CPU runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

SIZES = (1024, 2048, 4096)


def peaks(threads: int) -> dict[str, float]:
    """Return the best rate of any installed library by precision, in 10^9 operations/s: fp32, bf16 and int8."""
    return {
        "fp32": max(_best(_torch(threads, "fp32")), _best(_onnxruntime(threads))),
        "bf16": _best(_torch(threads, "bf16")),
        "int8": max(_best(_torch(threads, "int8")), int8_gops(threads)),
    }


def int8_gops(threads: int) -> float:
    """Return the best rate of ONNX Runtime's int8 product (8-bit times 8-bit into 32-bit), in 10^9 operations/s."""
    return _best(_onnxruntime_int8(threads))


def _best(product: Callable[[int], Callable[[], object]]) -> float:
    best = 0.0
    for size in SIZES:
        run = product(size)
        run()
        for _ in range(5):
            started = time.perf_counter()
            run()
            best = max(best, 2 * size**3 / (time.perf_counter() - started) / 1e9)
    return best


def _torch(threads: int, precision: str) -> Callable[[int], Callable[[], object]]:
    import torch

    torch.set_num_threads(threads)

    def product(size: int) -> Callable[[], object]:
        left, right = torch.randn(size, size), torch.randn(size, size)
        if precision == "int8":
            left, right = (torch.randint(-127, 128, (size, size), dtype=torch.int8) for _ in range(2))
            return lambda: torch._int_mm(left, right)
        if precision == "bf16":
            left, right = left.bfloat16(), right.bfloat16()
        return lambda: left @ right

    return product


def _onnxruntime(threads: int) -> Callable[[int], Callable[[], object]]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def product(size: int) -> Callable[[], object]:
        draw = np.random.default_rng(0)
        right = numpy_helper.from_array(draw.standard_normal((size, size), dtype=np.float32), "right")
        left, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, size]) for n in ("left", "out"))
        graph = helper.make_graph([helper.make_node("MatMul", ["left", "right"], ["out"])], "g", [left], [out], [right])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        value = draw.standard_normal((size, size), dtype=np.float32)
        return lambda: session.run(None, {"left": value})

    return product


def _onnxruntime_int8(threads: int) -> Callable[[int], Callable[[], object]]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def product(size: int) -> Callable[[], object]:
        draw = np.random.default_rng(0)
        right = numpy_helper.from_array(draw.integers(-63, 64, (size, size), dtype=np.int8), "right")
        left = helper.make_tensor_value_info("left", TensorProto.UINT8, [size, size])
        out = helper.make_tensor_value_info("out", TensorProto.INT32, [size, size])
        node = helper.make_node("MatMulInteger", ["left", "right"], ["out"])
        graph = helper.make_graph([node], "g", [left], [out], [right])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        value = draw.integers(0, 256, (size, size), dtype=np.uint8)
        return lambda: session.run(None, {"left": value})

    return product
