// The objective of the K-class problem by its definition, from a dense Z.
#pragma once

#include <Eigen/SVD>
#include <cmath>

#include "ufm/solve.hpp"

namespace ufm::fuzz {

// One column of what all classes of a cluster look like, repeated for each class.
inline std::vector<Index> clusters_of_classes(const Problem& problem) {
  std::vector<Index> cluster;
  for (Index i = 0; i < problem.size(); ++i) {
    cluster.insert(cluster.end(), static_cast<std::size_t>(problem.multiplicity[i]), i);
  }
  return cluster;
}

// Cross-entropy with one label, log(sum_j exp(l_j - l_label)), without the 1 of the label itself in
// the sum: a loss of 1e-7 would keep nine digits only.
inline double label_loss(const Vector& logits, Index label) {
  const double top = logits.maxCoeff();
  double others = 0.0;
  for (Index j = 0; j < logits.size(); ++j) {
    others += j == label ? 0.0 : std::exp(logits[j] - top);
  }
  if (logits[label] == top) {
    return std::log1p(others);
  }
  return top + std::log(others + std::exp(logits[label] - top)) - logits[label];
}

// sum_k pi_k CE(s o (z_k + b) + o, t_k) + lambda_z ||Z D^(1/2)||_* + (lambda_b / 2) ||b||^2 at
// `share` times a solution.
inline double dense_objective(const Problem& problem, const ReducedSolution& solution,
                              double share) {
  const std::vector<Index> cluster = clusters_of_classes(problem);
  const auto size = static_cast<Index>(cluster.size());
  Matrix z(size, size);
  Vector bias(size);
  for (Index k = 0; k < size; ++k) {
    const Index i = cluster[static_cast<std::size_t>(k)];
    bias[k] = share * solution.point.bias[i] / std::sqrt(problem.multiplicity[i]);
    for (Index j = 0; j < size; ++j) {
      const Index row = cluster[static_cast<std::size_t>(j)];
      const double classes = problem.multiplicity[row] * problem.multiplicity[i];
      double value = solution.point.m(row, i) / std::sqrt(classes);
      if (row == i) {
        value += solution.amplitudes[i] * ((j == k ? 1.0 : 0.0) - 1.0 / problem.multiplicity[i]);
      }
      z(j, k) = share * value / std::sqrt(problem.count[i]);
    }
  }
  double objective = problem.has_bias() ? 0.5 * problem.lambda_b * bias.squaredNorm() : 0.0;
  Matrix scaled = z;
  for (Index k = 0; k < size; ++k) {
    const Index i = cluster[static_cast<std::size_t>(k)];
    scaled.col(k) *= std::sqrt(problem.count[i]);
    Vector logits(size);
    for (Index j = 0; j < size; ++j) {
      const Index row = cluster[static_cast<std::size_t>(j)];
      logits[j] = problem.scale_of(row) * (z(j, k) + bias[j]) + problem.offset_of(row);
    }
    double loss = (1.0 - problem.smoothing) * label_loss(logits, k);
    if (problem.smoothing > 0.0) {
      for (Index j = 0; j < size; ++j) {
        loss += problem.smoothing / static_cast<double>(size) * label_loss(logits, j);
      }
    }
    objective += problem.loss_weight[i] * loss;
  }
  const Eigen::JacobiSVD<Matrix> svd(scaled);
  return objective + problem.lambda_z * svd.singularValues().sum();
}

}  // namespace ufm::fuzz
