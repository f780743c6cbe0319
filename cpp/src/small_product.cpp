#include "small_product.hpp"

#include "multiversion.hpp"

#if UFM_HAS_MULTIVERSION

namespace ufm {
namespace {

template <int rows>
struct PackOf;
template <>
struct PackOf<8> {
  typedef double type __attribute__((vector_size(64), aligned(8), may_alias));
};
template <>
struct PackOf<4> {
  typedef double type __attribute__((vector_size(32), aligned(8), may_alias));
};
template <>
struct PackOf<2> {
  typedef double type __attribute__((vector_size(16), aligned(8), may_alias));
};
template <>
struct PackOf<1> {
  typedef double type;
};

struct Operands {
  Index inner;
  const double* a;
  Index a_stride;
  const double* b;
  Index b_row;
  Index b_column;
  double* c;
  Index c_stride;
  bool accumulate;
};

// A block of c that stays in registers: 8 x 6 fills the 16 registers of AVX2 and hides the latency
// of AVX-512.
template <int rows, int cols>
inline __attribute__((always_inline)) void multiply_registers(const Operands& o, Index i, Index j) {
  using Pack = typename PackOf<rows>::type;
  double* c = o.c + i + j * o.c_stride;
  const double* b = o.b + j * o.b_column;
  Pack sum[cols];
  for (int k = 0; k < cols; ++k) {
    sum[k] = o.accumulate ? *reinterpret_cast<const Pack*>(c + k * o.c_stride) : Pack{};
  }
  for (Index p = 0; p < o.inner; ++p) {
    const Pack a = *reinterpret_cast<const Pack*>(o.a + i + p * o.a_stride);
#pragma GCC unroll 6
    for (int k = 0; k < cols; ++k) {
      sum[k] += a * b[p * o.b_row + k * o.b_column];
    }
  }
  for (int k = 0; k < cols; ++k) {
    *reinterpret_cast<Pack*>(c + k * o.c_stride) = sum[k];
  }
}

template <int cols>
inline __attribute__((always_inline)) void multiply_columns(const Operands& o, Index rows,
                                                            Index j) {
  Index i = 0;
  for (; i + 8 <= rows; i += 8) {
    multiply_registers<8, cols>(o, i, j);
  }
  if (i + 4 <= rows) {
    multiply_registers<4, cols>(o, i, j);
    i += 4;
  }
  if (i + 2 <= rows) {
    multiply_registers<2, cols>(o, i, j);
    i += 2;
  }
  if (i < rows) {
    multiply_registers<1, cols>(o, i, j);
  }
}

}  // namespace

bool has_small_product() {
  static const bool available = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v3") != 0;
  }();
  return available;
}

UFM_MULTIVERSION
void small_product(Index rows, Index cols, Index inner, const double* a, Index a_stride,
                   const double* b, Index b_row, Index b_column, double* c, Index c_stride,
                   bool accumulate) {
  const Operands operands{inner, a, a_stride, b, b_row, b_column, c, c_stride, accumulate};
  Index j = 0;
  for (; j + 6 <= cols; j += 6) {
    multiply_columns<6>(operands, rows, j);
  }
  if (j + 4 <= cols) {
    multiply_columns<4>(operands, rows, j);
    j += 4;
  }
  for (; j + 2 <= cols; j += 2) {
    multiply_columns<2>(operands, rows, j);
  }
  if (j < cols) {
    multiply_columns<1>(operands, rows, j);
  }
}

}  // namespace ufm

#else

namespace ufm {

bool has_small_product() { return false; }

void small_product(Index, Index, Index, const double*, Index, const double*, Index, Index, double*,
                   Index, bool) {}

}  // namespace ufm

#endif
