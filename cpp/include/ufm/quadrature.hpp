// Gauss rules of discrete measures, and polynomial interpolation in barycentric form.
#pragma once

#include "ufm/types.hpp"

namespace ufm {

struct GaussRule {
  Vector nodes;    // falling
  Vector weights;  // sum to the measure's mass
};

// The Gauss rule with the given number of nodes (fewer if the measure has fewer points) of the
// measure that puts mass[i] on points[i], which fall: Lanczos with reorthogonalisation, then Golub
// and Welsch. Thousands of points are condensed first.
GaussRule gauss_rule(const Eigen::Ref<const Vector>& points, const Eigen::Ref<const Vector>& mass,
                     Index num_nodes);

// Chebyshev points of the first kind on [low, high], falling.
Vector chebyshev_points(double low, double high, Index num_nodes);

// Entry (i, j): the j-th Lagrange polynomial of the nodes at points[i].
Matrix lagrange_matrix(const Vector& nodes, const Vector& points);

}  // namespace ufm
