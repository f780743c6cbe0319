#include "ufm/kernels.hpp"

#include <cstdint>
#include <cstring>
#include <limits>

#include "multiversion.hpp"

#if defined(_MSC_VER)
#define UFM_INLINE static __forceinline
#else
#define UFM_INLINE static inline __attribute__((always_inline))
#endif

// UFM_OPENMP_SIMD: the build found that the compiler reads these pragmas.
#if defined(UFM_OPENMP_SIMD)
#define UFM_PRAGMA(text) _Pragma(#text)
#define UFM_SIMD UFM_PRAGMA(omp simd)
#define UFM_SIMD_SUM(...) UFM_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#else
#define UFM_SIMD
#define UFM_SIMD_SUM(...)
#endif
// Clang cannot vectorise a maximum that may meet a NaN, and warns when asked to.
#if defined(UFM_OPENMP_SIMD) && !defined(__clang__)
#define UFM_SIMD_MAX(variable) UFM_PRAGMA(omp simd reduction(max : variable))
#else
#define UFM_SIMD_MAX(variable)
#endif

namespace ufm::kernels {
namespace {

// exp(x) without branches, so that compilers vectorise it: x = n log 2 + r, |r| <= log(2)/2, a
// Taylor polynomial of degree 13 in r (truncation below 5e-18 relative), times 2^n. Arguments
// below -708 give 0; the largest argument used here is 0.
UFM_INLINE double fast_exp(double x) {
  constexpr double log2_e = 1.4426950408889634074;
  constexpr double ln2_high = 6.93147180369123816490e-01;
  constexpr double ln2_low = 1.90821492927058770002e-10;
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  const double clamped = x < -708.0 ? -708.0 : x;
  const double shifted = clamped * log2_e + magic;
  const double n = shifted - magic;
  const double r = (clamped - n * ln2_high) - n * ln2_low;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  std::uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023u) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -708.0 ? 0.0 : p * power;
}

}  // namespace

UFM_MULTIVERSION
void shifted_logits(Index size, const double* m, double column_scale, const double* bias,
                    const double* row_scale, const double* offset, double shift, double* x) {
  UFM_SIMD
  for (Index j = 0; j < size; ++j) {
    x[j] = row_scale[j] * (m[j] * column_scale + bias[j]) + offset[j] - shift;
  }
}

UFM_MULTIVERSION
double largest(Index size, const double* x) {
  double result = -std::numeric_limits<double>::infinity();
  UFM_SIMD_MAX(result)
  for (Index j = 0; j < size; ++j) {
    result = x[j] > result ? x[j] : result;
  }
  return result;
}

UFM_MULTIVERSION
bool all_between(Index size, const double* x, double low, double high) {
  double outside = 0.0;
  UFM_SIMD_SUM(outside)
  for (Index j = 0; j < size; ++j) {
    outside += x[j] >= low && x[j] <= high ? 0.0 : 1.0;
  }
  return outside == 0.0;
}

UFM_MULTIVERSION
ExponentialSums exponentials(Index size, const double* multiplicity, double top, double* x) {
  double sum = 0.0;
  double weighted = 0.0;
  UFM_SIMD_SUM(sum, weighted)
  for (Index j = 0; j < size; ++j) {
    const double value = multiplicity[j] * fast_exp(x[j] - top);
    sum += value;
    weighted += value > 0.0 ? value * x[j] : 0.0;
    x[j] = value;
  }
  return {sum, weighted};
}

UFM_MULTIVERSION
double logit_changes(Index size, const double* dm, double column_scale, const double* dbias,
                     const double* row_scale, double shift, const double* mass, double* z) {
  double sum = 0.0;
  UFM_SIMD_SUM(sum)
  for (Index j = 0; j < size; ++j) {
    const double value = row_scale[j] * (dm[j] * column_scale + dbias[j]) - shift;
    sum += mass[j] * value;
    z[j] = value;
  }
  return sum;
}

UFM_MULTIVERSION
void weigh_changes(Index size, const double* mass, double mean, double* z) {
  UFM_SIMD
  for (Index j = 0; j < size; ++j) {
    z[j] = mass[j] * (z[j] - mean);
  }
}

UFM_MULTIVERSION
double squared_difference(Index size, const double* mass, const double* row_scale,
                          double column_scale, const double* smooth) {
  double sum = 0.0;
  UFM_SIMD_SUM(sum)
  for (Index j = 0; j < size; ++j) {
    const double value = mass[j] * row_scale[j] * column_scale - smooth[j];
    sum += value * value;
  }
  return sum;
}

const char* instruction_set() {
#if UFM_HAS_MULTIVERSION
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) {
    return "x86-64-v4";
  }
  if (__builtin_cpu_supports("x86-64-v3")) {
    return "x86-64-v3";
  }
#endif
  return "build";
}

}  // namespace ufm::kernels
