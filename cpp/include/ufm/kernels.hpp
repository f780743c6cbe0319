// The element-wise inner loops over one column of the mean prediction matrix.
//
// Compiled for several instruction sets and chosen at run time where the compiler supports it
// (GCC on x86-64 Linux); elsewhere for the instruction set of the build.
#pragma once

#include "ufm/types.hpp"

namespace ufm::kernels {

// x_j = row_scale_j * (m_j * column_scale + bias_j) + offset_j - shift
void shifted_logits(Index size, const double* m, double column_scale, const double* bias,
                    const double* row_scale, const double* offset, double shift, double* x);

double largest(Index size, const double* x);

// Whether low <= x_j <= high for all j.
bool all_between(Index size, const double* x, double low, double high);

struct ExponentialSums {
  double sum;       // sum of e_j
  double weighted;  // sum of e_j x_j
};

// e_j = multiplicity_j * exp(x_j - top), written over x.
ExponentialSums exponentials(Index size, const double* multiplicity, double top, double* x);

// z_j = row_scale_j * (dm_j * column_scale + dbias_j) - shift; returns sum of mass_j z_j.
double logit_changes(Index size, const double* dm, double column_scale, const double* dbias,
                     const double* row_scale, double shift, const double* mass, double* z);

// z_j = mass_j * (z_j - mean)
void weigh_changes(Index size, const double* mass, double mean, double* z);

// sum of (mass_j row_scale_j column_scale - smooth_j)^2
double squared_difference(Index size, const double* mass, const double* row_scale,
                          double column_scale, const double* smooth);

// Name of the instruction set the loops run with on this machine.
const char* instruction_set();

}  // namespace ufm::kernels
