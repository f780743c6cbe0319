#include "ufm/quadrature.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

namespace ufm {
namespace {

constexpr Index bins = 512;

// The moments of a bin's values up to the third, relative to its first value.
class Bin {
 public:
  explicit Bin(double origin) : origin_(origin), inverse_(1.0 / origin) {}

  void add(double value, double mass) {
    const double t = (value - origin_) * inverse_;
    total_ += mass;
    first_ += mass * t;
    second_ += mass * t * t;
    third_ += mass * t * t * t;
  }

  // Appends the logarithms of the Gauss rule with two nodes, or one where the values of the bin,
  // which is as wide in their logarithms, are as good as one.
  void append_to(Measure& measure, Index& size, double width) const {
    const double mean = first_ / total_;
    const double variance = second_ / total_ - mean * mean;
    const double log_origin = std::log(origin_);
    if (!(variance > 1e-10 * width * width)) {
      measure.points[size] = log_origin + std::log1p(mean);
      measure.mass[size++] = total_;
      return;
    }
    const double skew =
        (third_ / total_ - 3.0 * mean * second_ / total_ + 2.0 * mean * mean * mean) / variance;
    const double root = std::sqrt(skew * skew + 4.0 * variance);
    const double upper = 0.5 * (skew + root);
    const double lower = 0.5 * (skew - root);
    measure.points[size] = log_origin + std::log1p(mean + upper);
    measure.mass[size++] = -total_ * lower / root;
    measure.points[size] = log_origin + std::log1p(mean + lower);
    measure.mass[size++] = total_ * upper / root;
  }

 private:
  double origin_;
  double inverse_;
  double total_ = 0.0;
  double first_ = 0.0;
  double second_ = 0.0;
  double third_ = 0.0;
};

// At most two points for each of many bins of equal width in the logarithm, with the moments up to
// the third of the bins' values. The logarithm is smooth across a bin, so that none is taken of
// the values themselves.
Measure condense(const Eigen::Ref<const Vector>& values, const Eigen::Ref<const Vector>& mass) {
  Measure result{Vector(2 * bins), Vector(2 * bins)};
  Index size = 0;
  const Index count = values.size();
  const double high = std::log(values[0]);
  const double width = (high - std::log(values[count - 1])) / static_cast<double>(bins);
  Index i = 0;
  for (Index bin = 1; i < count; ++bin) {
    const double end = bin < bins ? std::exp(high - static_cast<double>(bin) * width) : 0.0;
    if (!(values[i] > end)) {
      continue;
    }
    Bin moments(values[i]);
    for (; i < count && values[i] > end; ++i) {
      moments.add(values[i], mass[i]);
    }
    moments.append_to(result, size, width);
  }
  result.points.conservativeResize(size);
  result.mass.conservativeResize(size);
  return result;
}

// The rule of a measure on [-1, 1].
GaussRule standard_rule(const Measure& measure, Index num_nodes) {
  const Vector& t = measure.points;
  const Vector& mass = measure.mass;
  const Index m = std::min(num_nodes, t.size());
  Matrix basis(t.size(), m);
  Vector diagonal(m);
  Vector off_diagonal(std::max<Index>(m - 1, 0));
  Vector q = (mass / mass.sum()).cwiseSqrt();
  // Orthogonality is lost where the nodes are nearly as many as the points, and only there.
  const int passes = t.size() > 16 * m ? 1 : 2;
  for (Index j = 0; j < m; ++j) {
    basis.col(j) = q;
    Vector r = t.cwiseProduct(q);
    diagonal[j] = q.dot(r);
    for (int pass = 0; pass < passes; ++pass) {
      const Vector overlap = basis.leftCols(j + 1).transpose() * r;
      r.noalias() -= basis.leftCols(j + 1) * overlap;
    }
    if (j + 1 < m) {
      off_diagonal[j] = r.norm();
      q = r / off_diagonal[j];
    }
  }
  Eigen::SelfAdjointEigenSolver<Matrix> eigen;
  eigen.computeFromTridiagonal(diagonal, off_diagonal);
  GaussRule rule;
  rule.nodes = eigen.eigenvalues().reverse();
  rule.weights = mass.sum() * eigen.eigenvectors().row(0).cwiseAbs2().transpose().reverse();
  return rule;
}

}  // namespace

Measure log_measure(const Eigen::Ref<const Vector>& values, const Eigen::Ref<const Vector>& mass) {
  if (values.size() > 4 * bins) {
    return condense(values, mass);
  }
  return {values.array().log(), mass};
}

GaussRule gauss_rule(const Measure& measure, Index num_nodes) {
  const Vector& points = measure.points;
  const double middle = 0.5 * (points[0] + points[points.size() - 1]);
  const double half = std::max(0.5 * (points[0] - points[points.size() - 1]), 1e-300);
  GaussRule rule = standard_rule({(points.array() - middle) / half, measure.mass}, num_nodes);
  rule.nodes = middle + half * rule.nodes.array();
  return rule;
}

Vector chebyshev_points(double low, double high, Index num_nodes) {
  const double pi = 3.14159265358979323846;
  Vector points(num_nodes);
  for (Index j = 0; j < num_nodes; ++j) {
    const double angle = pi * (static_cast<double>(j) + 0.5) / static_cast<double>(num_nodes);
    points[j] = 0.5 * (low + high) + 0.5 * (high - low) * std::cos(angle);
  }
  return points;
}

Matrix lagrange_matrix(const Vector& nodes, const Vector& points) {
  const Index m = nodes.size();
  // Scaled so that the products neither overflow nor underflow.
  const double scale = m > 1 ? 4.0 / (nodes.maxCoeff() - nodes.minCoeff()) : 1.0;
  Vector weights = Vector::Ones(m);
  for (Index j = 0; j < m; ++j) {
    for (Index l = 0; l < m; ++l) {
      if (l != j) {
        weights[j] /= scale * (nodes[j] - nodes[l]);
      }
    }
  }
  Matrix result(points.size(), m);
  for (Index i = 0; i < points.size(); ++i) {
    Index exact = -1;
    for (Index j = 0; j < m; ++j) {
      const double difference = points[i] - nodes[j];
      if (difference == 0.0) {
        exact = j;
        break;
      }
      result(i, j) = weights[j] / difference;
    }
    if (exact >= 0) {
      result.row(i).setZero();
      result(i, exact) = 1.0;
    } else {
      result.row(i) /= result.row(i).sum();
    }
  }
  return result;
}

}  // namespace ufm
