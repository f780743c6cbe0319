// exp(F + b) between all clusters of a continuum point, by a small matrix and with a proved error.
//
// On a pair of panels F + b is a polynomial in (log n_j, log n_i) whose Chebyshev coefficients the
// nodes give, so that its exponential is entire: how well it is interpolated on a finer set of
// nodes follows from the coefficients alone, without a look at the pairs of clusters.
#pragma once

#include <vector>

#include "ufm/reduction.hpp"
#include "ufm/structured.hpp"

namespace ufm {

// Consecutive clusters [first, first + count) and the fine nodes [first_node, first_node + size).
struct FinePanel {
  Index first;
  Index count;
  Index first_node;
  Index size;
  Matrix
      rows;  // count x size, interpolation from the fine nodes; empty where they are the clusters

  bool exact() const { return rows.size() == 0; }
};

struct SmoothKernel {
  std::vector<FinePanel> panels;
  Matrix logits;  // F + b between fine nodes: row class, column class
  Matrix values;  // exp(logits); zero on the diagonal where fine nodes are clusters
  // Bounds for all pairs of clusters: what interpolation leaves out of exp(F + b), and of
  // (F + b) exp(F + b), as parts of exp(F + b); infinite where no bound was found. Rounding
  // included.
  double error = 0.0;
  double weighted_error = 0.0;
  double largest_logit = 0.0;  // bounds |F + b|

  Index num_nodes() const { return values.rows(); }
  Index num_clusters() const { return panels.back().first + panels.back().count; }
  // sum over clusters of factors times the interpolation from each fine node.
  Vector gather(const Vector& factors) const;
  // Interpolates to all clusters.
  Vector spread(const Vector& node_values) const;
  // Value at (i, i) of what is interpolated from the given matrix; zero where nodes are clusters.
  Vector diagonal(const Matrix& node_values) const;
};

// Needs the reduction's interpolation matrices.
SmoothKernel smooth_kernel(const Reduction& reduction, const ContinuumPoint& point);

}  // namespace ufm
