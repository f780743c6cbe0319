// Gauss rules of discrete measures, and polynomial interpolation in barycentric form.
#pragma once

#include "ufm/types.hpp"

namespace ufm {

// Mass on points, which fall.
struct Measure {
  Vector points;
  Vector mass;
};

struct GaussRule {
  Vector nodes;    // falling
  Vector weights;  // sum to the measure's mass
};

// The measure that puts mass[i] on log(values[i]), for values that fall. Thousands of points are
// condensed to a thousand: for smooth functions that leaves out less than rounding does.
Measure log_measure(const Eigen::Ref<const Vector>& values, const Eigen::Ref<const Vector>& mass);

// The Gauss rule of a measure with the given number of nodes (fewer if the measure has fewer
// points): Lanczos with reorthogonalisation, then Golub and Welsch.
GaussRule gauss_rule(const Measure& measure, Index num_nodes);

// Chebyshev points of the first kind on [low, high], falling.
Vector chebyshev_points(double low, double high, Index num_nodes);

// Entry (i, j): the j-th Lagrange polynomial of the nodes at points[i].
Matrix lagrange_matrix(const Vector& nodes, const Vector& points);

}  // namespace ufm
