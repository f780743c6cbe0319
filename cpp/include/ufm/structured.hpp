// A between-cluster matrix of the form diag(d) + L R^T, and what can be computed from it without
// ever holding it whole.
#pragma once

#include <optional>

#include "ufm/certificate.hpp"
#include "ufm/loss.hpp"
#include "ufm/reduction.hpp"

namespace ufm {

struct StructuredMatrix {
  Vector diagonal;
  Matrix left;   // C x r
  Matrix right;  // C x r

  bool empty() const { return diagonal.size() == 0; }
  Matrix dense() const;
  // The entries on the diagonal.
  Vector diagonal_entries() const;
};

// An upper bound of the nuclear norm of an expanded solution's matrix, in time proportional to the
// number of clusters. The error is of second order in how far the diagonal's action leaves the span
// of the low-rank part and of its products with powers of the diagonal. Power 1 is enough but where
// the diagonal starts from zero: on counts that hardly differ, just above a threshold, it leaves up
// to 1e-7 of the objective, and powers 2 and 3 leave 3e-9 and 3e-10.
double nuclear_norm_bound(const Problem& problem, const Reduction& reduction,
                          const StructuredMatrix& matrix, int highest_power, Monitor& monitor);

constexpr int usual_power = 1;
constexpr int accurate_power = 3;

// A solution of the reduced problem, carried over to all clusters. Off the diagonal it interpolates
// the nodes; on the diagonal every cluster's amplitude solves its own optimality equation exactly.
struct ContinuumPoint {
  StructuredMatrix m;
  Vector bias;         // scaled bias
  Matrix node_values;  // z between nodes (row class, column class)
  Vector node_bias;    // bias at the nodes
};

// Needs the reduction's interpolation matrices.
ContinuumPoint expand_solution(const Problem& problem, const Reduction& reduction,
                               const Point& node_point, const Vector& node_amplitudes);

// Certifies the exact problem at a continuum point in time and memory proportional to C; empty
// where exp(F + b) is not proved to be interpolated well. The norm of the gradient is not looked
// for more closely than a small part of tol. The result's point.m stays empty.
std::optional<CertifiedPoint> certify_smooth(const BlockLoss& loss, const Reduction& reduction,
                                             const ContinuumPoint& point, double tol,
                                             Monitor& monitor);

// The same at any point, in memory proportional to C times the number of nodes: all C x C entries
// are visited, in blocks, to bound what the low-rank form of the gradient leaves out.
CertifiedPoint certify_visiting(const BlockLoss& loss, const Reduction& reduction,
                                const ContinuumPoint& point, Monitor& monitor);

}  // namespace ufm
