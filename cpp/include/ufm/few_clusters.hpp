// Problems of three or four clusters, by Newton's method in arrays of fixed size.
#pragma once

#include <optional>

#include "ufm/solve.hpp"

namespace ufm {

constexpr Index few_clusters = 4;

// Optimum of a problem with three or four clusters and plain cross-entropy (scale 1, offset 0, no
// smoothing) whose M is not zero, not certified. Empty where Newton's method from the balanced
// solution does not end by itself in a few steps; the general methods then have to decide.
std::optional<Iterate> solve_few_clusters(const BlockLoss& loss, Monitor& monitor);

}  // namespace ufm
