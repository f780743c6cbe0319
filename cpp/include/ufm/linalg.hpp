// Dense linear algebra behind one small interface: Eigen always, and an optimised LAPACK and BLAS
// for large matrices when their functions were handed over at run time.
#pragma once

#include "ufm/monitor.hpp"
#include "ufm/types.hpp"

namespace ufm {

// Function pointers with the Fortran calling convention and 32-bit integers.
struct LapackFunctions {
  using Gemm = void (*)(char*, char*, int*, int*, int*, double*, double*, int*, double*, int*,
                        double*, double*, int*);
  using Syrk = void (*)(char*, char*, int*, int*, double*, double*, int*, double*, double*, int*);
  using Potrf = void (*)(char*, int*, double*, int*, int*);
  using Gesdd = void (*)(char*, int*, int*, double*, int*, double*, double*, int*, double*, int*,
                         double*, int*, int*, int*);
  Gemm gemm = nullptr;
  Syrk syrk = nullptr;
  Potrf potrf = nullptr;
  Gesdd gesdd = nullptr;
};

// Installs the functions after a self-test on a 2 x 2 case; throws std::runtime_error if it fails.
void set_lapack(const LapackFunctions& functions);
void clear_lapack();
bool has_lapack();

// Number of threads that a BLAS call runs on. Each of them takes a buffer of some 32 MiB when it is
// first used, and OpenBLAS waits forever where the limit on the address space leaves none: every
// call makes sure of that first and throws std::bad_alloc.
void expect_blas_threads(int threads);

// Matrices with a side shorter than this stay with Eigen.
constexpr Index lapack_crossover = 48;

enum class Transpose { no, yes };

// result = beta * result + op(a) * op(b). Large products run in pieces with monitor checks between.
void multiply_into(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
                   double beta, Block result, Monitor& monitor);

// The same with beta = 0, for a result that gets its shape here.
void multiply(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
              Matrix& result, Monitor& monitor);

// result = a b^T for parts of matrices; meant for products with a short inner side.
void multiply_by_transpose(const ConstBlock& a, const ConstBlock& b, Block result);

// Lower triangle of a^T a.
void gram_lower(const Matrix& a, Matrix& result);

// Whether the symmetric matrix (lower triangle given, destroyed) has a Cholesky factorisation.
bool is_positive_definite(Matrix& symmetric);

struct Svd {
  Matrix left;
  Vector values;
  Matrix right;  // columns are right singular vectors
};

Svd thin_svd(const Matrix& a);
Vector singular_values(const Matrix& a);

// The same, given up when the monitor asks to stop (see abandonable.hpp).
Svd thin_svd(const Matrix& a, Monitor& monitor);
Vector singular_values(const Matrix& a, Monitor& monitor);

}  // namespace ufm
