#include "ufm/structured.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "ufm/kernels.hpp"
#include "ufm/linalg.hpp"

namespace ufm {
namespace {

// An orthonormal basis of the columns' span, by two rounds of Gram matrix and eigenvectors.
Matrix orthonormal_basis(Matrix a) {
  for (int round = 0; round < 2; ++round) {
    for (Index j = 0; j < a.cols(); ++j) {
      const double norm = a.col(j).norm();
      if (norm > 0.0) {
        a.col(j) /= norm;
      }
    }
    Matrix gram;
    gram_lower(a, gram);
    const Eigen::SelfAdjointEigenSolver<Matrix> eigen(gram);
    const Vector& values = eigen.eigenvalues();
    const double cut = 1e-13 * values[values.size() - 1];
    const Index kept = (values.array() > cut).count();
    if (kept == 0) {
      return Matrix(a.rows(), 0);
    }
    const Matrix scaled = eigen.eigenvectors().rightCols(kept) *
                          values.tail(kept).cwiseSqrt().cwiseInverse().asDiagonal();
    Matrix next;
    Monitor quiet;
    multiply(a, Transpose::no, scaled, Transpose::no, next, quiet);
    a = std::move(next);
  }
  return a;
}

Matrix weighted_gram(const Matrix& a, const Vector& weights) {
  Monitor quiet;
  const Matrix weighted = weights.asDiagonal() * a;
  Matrix result;
  multiply(a, Transpose::yes, weighted, Transpose::no, result, quiet);
  return result;
}

// Logarithm of the sum of exponentials over all classes of each node's column, with the logit of
// another class in place of the own one.
Vector log_sums_at_nodes(const Problem& problem, const Reduction& reduction,
                         const ContinuumPoint& point, const Vector& bias) {
  const Matrix logits = reduction.expand(point.node_values).colwise() + bias;
  Vector result(logits.cols());
  Vector column(logits.rows());
  for (Index a = 0; a < logits.cols(); ++a) {
    column = logits.col(a);
    const double top = kernels::largest(column.size(), column.data());
    const auto sums =
        kernels::exponentials(column.size(), problem.multiplicity.data(), top, column.data());
    result[a] = top + std::log(sums.sum);
  }
  return result;
}

// Some rows of a matrix's low-rank part, in an orthonormal basis of what they span.
struct Coordinates {
  Matrix basis;
  Matrix left;
  Matrix right;
};

Coordinates coordinates(const StructuredMatrix& matrix, const std::vector<Index>& rows) {
  Coordinates result;
  const Index rank = matrix.left.cols();
  if (rows.empty()) {
    result.basis.resize(0, 0);
    result.left.resize(0, rank);
    result.right.resize(0, rank);
    return result;
  }
  const Matrix left = matrix.left(rows, Eigen::all);
  const Matrix right = matrix.right(rows, Eigen::all);
  Matrix spanning(left.rows(), 2 * rank);
  spanning << left, right;
  result.basis = orthonormal_basis(std::move(spanning));
  Monitor quiet;
  multiply(result.basis, Transpose::yes, left, Transpose::no, result.left, quiet);
  multiply(result.basis, Transpose::yes, right, Transpose::no, result.right, quiet);
  return result;
}

}  // namespace

Matrix StructuredMatrix::dense() const {
  Monitor quiet;
  Matrix result;
  multiply(left, Transpose::no, right, Transpose::yes, result, quiet);
  result.diagonal() += diagonal;
  return result;
}

Vector StructuredMatrix::diagonal_entries() const {
  return diagonal + left.cwiseProduct(right).rowwise().sum();
}

double nuclear_norm_bound(const StructuredMatrix& matrix) {
  // For every positive definite S, ||X||_* <= (tr S + tr(S^-1 X X^T)) / 2, with equality at
  // S = (X X^T)^(1/2) and an error of second order around it. Take S = D + P Gamma P^T, where D is
  // the diagonal and P spans the low-rank part, so that everything reduces to the size of P.
  // Where the diagonal is zero, X acts inside the span Q of its rows there: those coordinates are
  // replaced by Q, with a constant for D that is taken off again in Delta.
  // Entries too small to divide by are left out and added back by the triangle inequality.
  const double negligible = 1e-6 * matrix.diagonal.maxCoeff();
  std::vector<Index> active;
  std::vector<Index> inactive;
  double left_out = 0.0;
  for (Index i = 0; i < matrix.diagonal.size(); ++i) {
    if (matrix.diagonal[i] > negligible) {
      active.push_back(i);
    } else {
      inactive.push_back(i);
      left_out += matrix.diagonal[i];
    }
  }
  const Coordinates on = coordinates(matrix, active);
  const Coordinates off = coordinates(matrix, inactive);
  const Index p = on.basis.cols();
  const Index q = off.basis.cols();
  const Index size = p + q;
  if (size == 0) {
    return matrix.diagonal.sum();
  }
  const Vector d = matrix.diagonal(active);
  const double constant = active.empty() ? 1.0 : std::exp(d.array().log().mean());

  Matrix d_inside = Matrix::Zero(size, size);
  Matrix inverse_inside = Matrix::Zero(size, size);
  d_inside.topLeftCorner(p, p) = weighted_gram(on.basis, d);
  inverse_inside.topLeftCorner(p, p) = weighted_gram(on.basis, d.cwiseInverse());
  d_inside.diagonal().tail(q).setConstant(constant);
  inverse_inside.diagonal().tail(q).setConstant(1.0 / constant);
  Matrix left(size, matrix.left.cols());
  left << on.left, off.left;
  Matrix right(size, matrix.left.cols());
  right << on.right, off.right;
  Matrix delta = left * right.transpose();
  delta.diagonal().tail(q).array() -= constant;

  const Svd svd = thin_svd(d_inside + delta);
  if (active.empty() && !(svd.values[0] > 0.0)) {
    return left_out;  // the zero matrix, for which no S will do
  }
  const Vector spectrum = svd.values.cwiseMax(1e-8 * svd.values[0]);
  const Matrix gamma = svd.left * spectrum.asDiagonal() * svd.left.transpose() - d_inside;
  const Matrix identity = Matrix::Identity(size, size);
  // S^-1 = D^-1 - D^-1 P (I + Gamma H)^-1 Gamma P^T D^-1 with H = P^T D^-1 P.
  const Matrix inner = Eigen::PartialPivLU<Matrix>(identity + gamma * inverse_inside).solve(gamma);
  const Matrix factor = identity + inverse_inside * delta;
  const double trace = d.sum() + constant * static_cast<double>(q);
  const double second = trace + 2.0 * delta.trace() +
                        inverse_inside.cwiseProduct(delta * delta.transpose()).sum() -
                        inner.transpose().cwiseProduct(factor * factor.transpose()).sum();
  const double bound = 0.5 * (trace + gamma.trace() + second) + left_out;
  return bound * (1.0 + 1e-9);  // rounding in the small matrices stays well below this
}

ContinuumPoint expand_solution(const Problem& problem, const Reduction& reduction,
                               const Point& node_point, const Vector& node_amplitudes) {
  const Problem& coarse = reduction.problem;
  const Vector node_root = coarse.multiplicity.cwiseSqrt();
  const Vector root = problem.multiplicity.cwiseSqrt();
  const Vector root_count = problem.count.cwiseSqrt();
  ContinuumPoint point;
  point.node_values =
      node_root.cwiseInverse().asDiagonal() * node_point.m *
      (node_root.cwiseProduct(coarse.count.cwiseSqrt())).cwiseInverse().asDiagonal();
  point.node_values.diagonal().array() -=
      node_amplitudes.array() / (coarse.multiplicity.array() * coarse.count.array().sqrt());
  point.node_bias = node_point.bias.cwiseQuotient(node_root);
  Vector bias = reduction.expand(point.node_bias);
  const double mean = bias.dot(problem.multiplicity) / problem.num_classes();
  bias.array() -= mean;
  point.node_bias.array() -= mean;
  if (!problem.has_bias()) {
    bias.setZero();
    point.node_bias.setZero();
  }
  point.bias = bias.cwiseProduct(root);

  const Matrix identity = Matrix::Identity(coarse.size(), coarse.size());
  const Matrix interpolation = reduction.expand(identity);
  const Matrix columns = reduction.expand(point.node_values.transpose());  // C x r
  StructuredMatrix& m = point.m;
  m.left = root.asDiagonal() * interpolation;
  m.right = root.cwiseProduct(root_count).asDiagonal() * columns;
  m.diagonal = Vector::Zero(problem.size());

  // The amplitude of every cluster from its own equation: with o the logit of another class of the
  // cluster and E the sum over other clusters, d = log1p((1 - theta) (E exp(-o) + k) / theta). The
  // logarithm of E + k exp(o) is as smooth as the kernel and interpolated like it.
  const Vector log_sums = reduction.expand(log_sums_at_nodes(problem, reduction, point, bias));
  const Vector others = interpolation.cwiseProduct(columns).rowwise().sum() + bias;
  for (const Panel& panel : reduction.panels) {
    for (Index i = panel.first; i < panel.first + panel.count; ++i) {
      const double theta = problem.threshold_ratio(i);
      // A kept class has no other class like it: its diagonal entry is already its own logit.
      const bool single = panel.kept && problem.multiplicity[i] == 1.0;
      if (!single && theta < 1.0) {
        const double sum = std::exp(log_sums[i] - others[i]);
        m.diagonal[i] = std::log1p((1.0 - theta) * sum / theta) * root_count[i];
      }
    }
  }

  // Columns of Z sum to zero at the optimum: subtract v v^T M with v = sqrt(k / K).
  const Vector direction = root / std::sqrt(problem.num_classes());
  const Vector diagonal_part = direction.cwiseProduct(m.diagonal);
  const Vector overlap = m.left.transpose() * direction;
  const Index rank = m.left.cols();
  m.left.noalias() -= direction * overlap.transpose();
  m.left.conservativeResize(Eigen::NoChange, rank + 1);
  m.right.conservativeResize(Eigen::NoChange, rank + 1);
  m.left.col(rank) = -direction;
  m.right.col(rank) = diagonal_part;
  return point;
}

}  // namespace ufm
