// The loss gradient between clusters as a diagonal plus a matrix of low rank, and its norm.
#pragma once

#include "ufm/monitor.hpp"
#include "ufm/spectral.hpp"
#include "ufm/types.hpp"

namespace ufm {

// diag(diagonal) + left right^T + something of norm remainder at most.
struct GradientForm {
  Vector diagonal;
  Matrix left;
  Matrix right;
  double remainder = 0.0;
};

// An upper bound of the norm, not closer than to the given relative accuracy. One not much above
// `allowed` is looked for first: less is not needed.
NormBound norm_bound(const GradientForm& form, double allowed, double accuracy, Monitor& monitor);

}  // namespace ufm
