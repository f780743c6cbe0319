// The convex unconstrained feature model, reduced exactly to clusters of identical classes.
//
//   min over Z (K x K) and b (K) of
//     sum_k pi_k CE(s o (z_k + b) + o, t_k) + lambda_z ||Z D^(1/2)||_* + (lambda_b / 2) ||b||^2
//
// pi_k is the loss weight of class k (w_k n_k / N), s and o are optional scales and offsets of the
// logits, and t_k = (1 - epsilon) e_k + (epsilon / K) 1 is the optionally smoothed label.
#pragma once

#include <vector>

#include "ufm/types.hpp"

namespace ufm {

// Optional departures from plain cross-entropy. Empty vectors mean scale 1 and offset 0.
struct LossShape {
  Vector scale;
  Vector offset;
  double smoothing = 0.0;
};

// A problem in cluster form. Every vector has one entry per cluster. A multiplicity may be any
// real number >= 1: the continuum method uses clusters that hold a fractional number of classes.
struct Problem {
  Vector count;         // n_i, samples of each class of the cluster
  Vector loss_weight;   // pi_i, loss weight of each class of the cluster
  Vector multiplicity;  // k_i, classes in the cluster
  Vector scale;         // s_i > 0, scale of the cluster's logits; empty: 1 for all
  Vector offset;        // o_i, offset of the cluster's logits; empty: 0 for all
  double smoothing = 0.0;
  double lambda_z = 0.0;
  double lambda_b = 0.0;  // 0: unregularised bias, infinity: no bias

  Index size() const { return count.size(); }
  bool has_bias() const;
  double num_classes() const { return multiplicity.sum(); }
  double scale_of(Index cluster) const { return scale.size() ? scale[cluster] : 1.0; }
  double offset_of(Index cluster) const { return offset.size() ? offset[cluster] : 0.0; }
  Vector all_scales() const { return scale.size() ? scale : Vector::Ones(size()); }
  Vector all_offsets() const { return offset.size() ? offset : Vector::Zero(size()); }

  // Threshold ratio theta_i = lambda_z sqrt(n_i) / (pi_i s_i) + smoothing. The classes of a cluster
  // with at least two members share one mean prediction exactly when theta_i >= 1.
  double threshold_ratio(Index cluster) const;
  Vector threshold_ratios(Index first, Index number) const;  // of consecutive clusters
  bool amplitude_active(Index cluster) const;

  // Whether the loss is plain cross-entropy (with class weights): no smoothing, scales or offsets.
  bool is_plain() const;

  // Unit vector along which the logits of every column, and the bias, sum to zero at the optimum.
  Vector flat_direction() const;

  // Upper bound of the curvature of the loss in M.
  double curvature_bound() const;

  // Rank of the part of Z inside the clusters whose amplitude is positive; multiplicities may be
  // fractional, hence the rounding.
  Index within_rank(const Vector& amplitudes) const;
};

// Checks the vectors' lengths, signs and finiteness; throws std::invalid_argument.
void validate(const Problem& problem);

// The exact grouping of classes into clusters. Clusters are ordered by falling count, then weight.
// Where cluster i is class i for all i, the vectors of indices are empty.
struct Grouping {
  std::vector<Index> cluster_of;      // one per class
  std::vector<Index> representative;  // one class per cluster
  Vector multiplicity;

  // The cluster of each class, written out; cluster_of is empty afterwards.
  std::vector<Index> take_cluster_of(Index num_classes);
};

// Groups classes that are equal in every key; each key has one value per class.
Grouping group_classes(const std::vector<const double*>& keys, Index num_classes);

// Whether at least limit different pairs of count and class weight occur. class_weights may be
// null.
bool has_distinct(const double* counts, const double* class_weights, Index num_classes,
                  Index limit);

// Builds the reduced problem of K classes. class_weights may be empty (all ones). The grouping's
// multiplicity moves into the problem.
Problem make_problem(const Eigen::Ref<const Vector>& counts, const Vector& class_weights,
                     double lambda_z, double lambda_b, const LossShape& shape, Grouping& grouping);

}  // namespace ufm
