// Products of matrices of some ten to a hundred rows, where a portable build of Eigen uses a
// quarter of the machine and loading an optimised BLAS would cost more than the solve.
#pragma once

#include "ufm/types.hpp"

namespace ufm {

// Whether small_product beats Eigen on this machine: there are vector units beyond the baseline
// that the build is for, and a compiler that can choose them at run time.
bool has_small_product();

// c (+)= a b. Columns of a and c are contiguous; b(p, j) lies at b[p * b_row + j * b_column].
void small_product(Index rows, Index cols, Index inner, const double* a, Index a_stride,
                   const double* b, Index b_row, Index b_column, double* c, Index c_stride,
                   bool accumulate);

}  // namespace ufm
