#include "ufm/quadrature.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

namespace ufm {

GaussRule gauss_rule(const Vector& points, const Vector& mass, Index num_nodes) {
  const Index m = std::min(num_nodes, points.size());
  const double middle = 0.5 * (points.maxCoeff() + points.minCoeff());
  const double half = std::max(0.5 * (points.maxCoeff() - points.minCoeff()), 1e-300);
  const Vector t = (points.array() - middle) / half;
  Matrix basis(points.size(), m);
  Vector diagonal(m);
  Vector off_diagonal(std::max<Index>(m - 1, 0));
  Vector q = (mass / mass.sum()).cwiseSqrt();
  // Orthogonality is lost where the nodes are nearly as many as the points, and only there.
  const int passes = points.size() > 16 * m ? 1 : 2;
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
  rule.nodes = (middle + half * eigen.eigenvalues().array()).reverse();
  rule.weights = mass.sum() * eigen.eigenvectors().row(0).cwiseAbs2().transpose().reverse();
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
