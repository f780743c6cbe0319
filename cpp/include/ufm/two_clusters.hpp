// The problem with two clusters, brought down to one equation in one unknown.
#pragma once

#include <optional>

#include "ufm/solve.hpp"

namespace ufm {

// Optimum of a problem with two clusters and plain cross-entropy (scale 1, offset 0, no smoothing),
// not certified. Empty where the search did not end in at most max_iterations steps, or where
// rounding leaves the answer open; the general methods then have to decide.
std::optional<Iterate> solve_two_clusters(const Problem& problem, int max_iterations);

}  // namespace ufm
