"""Types of the compiled core."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_Indices = NDArray[np.int64]

lapack_crossover: int
small_problem: int
dense_limit: int

def solve_many(
    counts: _Array,
    count_start: _Indices,
    num_classes: _Indices,
    class_weights: _Array,
    weight_start: _Indices,
    lambda_z: _Array,
    lambda_b: _Array,
    scale: _Array,
    scale_start: _Indices,
    offset: _Array,
    offset_start: _Indices,
    smoothing: _Array,
    tol: float,
    max_iterations: int,
    threads: int,
    time_limit: float,
) -> dict[str, Any]: ...
def first_bad_row(values: _Array, start: _Indices, length: _Indices) -> int: ...
def first_bad_weights(
    counts: _Array,
    count_start: _Indices,
    class_weights: _Array,
    weight_start: _Indices,
    length: _Indices,
) -> int: ...
def any_row_has_distinct(
    counts: _Array,
    count_start: _Indices,
    num_classes: _Indices,
    class_weights: _Array,
    weight_start: _Indices,
    limit: int,
) -> bool: ...
def group(
    counts: _Array, class_weights: _Array, scale: _Array = ..., offset: _Array = ...
) -> tuple[_Indices, _Array, _Array, _Array]: ...
def set_lapack(gemm: Any, syrk: Any, potrf: Any, gesdd: Any) -> None: ...
def clear_lapack() -> None: ...
def has_lapack() -> bool: ...
def thread_limit() -> int: ...
def expect_blas_threads(threads: int) -> None: ...
def finish_abandoned() -> None: ...
def count_abandoned() -> int: ...
def forget_abandoned() -> None: ...
def forget_blas_calls() -> None: ...
def instruction_set() -> str: ...
def svt(x: _Array, tau: float) -> _Array: ...
def singular_values(x: _Array) -> _Array: ...
def operator_norm_bound(x: _Array) -> tuple[float, float]: ...
def cross_entropy(
    z: _Array, bias: _Array, counts: _Array, class_weights: _Array
) -> tuple[float, _Array, _Array]: ...
def has_distinct(counts: _Array, class_weights: _Array, limit: int) -> bool: ...
def between_rank(
    count: _Array,
    loss_weight: _Array,
    multiplicity: _Array,
    scale: _Array,
    offset: _Array,
    smoothing: float,
    lambda_z: float,
    lambda_b: float,
    m: _Array,
    scaled_bias: _Array,
) -> int: ...
def loss_at(
    count: _Array,
    loss_weight: _Array,
    multiplicity: _Array,
    scale: _Array,
    offset: _Array,
    smoothing: float,
    lambda_z: float,
    lambda_b: float,
    m: _Array,
    scaled_bias: _Array,
    dm: _Array,
    dbias: _Array,
    nuclear_norm: float,
    interpolated_bias: bool = False,
) -> dict[str, Any]: ...
def zero_solution(
    counts: _Array,
    class_weights: _Array,
    lambda_b: float,
    scale: _Array,
    offset: _Array,
    smoothing: float,
) -> tuple[_Array, float]: ...
def solve(
    counts: _Array,
    class_weights: _Array | None,
    lambda_z: float,
    lambda_b: float,
    scale: _Array | None,
    offset: _Array | None,
    smoothing: float,
    tol: float,
    method: str,
    max_iterations: int,
    time_limit: float,
    start: tuple[_Array, _Array, _Array] | None,
    progress: Callable[[int, float, float], Any] | None,
) -> dict[str, Any]: ...
def expand_classes(
    cluster_of: _Indices, count: _Array, multiplicity: _Array, m: _Array, amplitudes: _Array
) -> _Array: ...
