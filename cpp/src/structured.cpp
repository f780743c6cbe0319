#include "ufm/structured.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "ufm/kernels.hpp"
#include "ufm/linalg.hpp"

namespace ufm {
namespace {

// Orthonormal columns that span those of a up to rounding; zero columns span nothing.
Matrix spanning_basis(Matrix a) {
  Index used = 0;
  for (Index j = 0; j < a.cols(); ++j) {
    const double norm = a.col(j).norm();
    if (norm > 0.0) {
      a.col(used++) = a.col(j) / norm;
    }
  }
  a.conservativeResize(Eigen::NoChange, used);
  if (used == 0) {
    return a;
  }
  const Eigen::ColPivHouseholderQR<Matrix> qr(a);
  const Vector sizes = qr.matrixQR().diagonal().cwiseAbs();
  const Index rank = std::max<Index>((sizes.array() > 1e-15 * sizes[0]).count(), 1);
  return qr.householderQ() * Matrix::Identity(a.rows(), rank);
}

// a with some columns, each multiplied by a vector, appended on the right.
Matrix append_scaled(const Matrix& a, const Vector& factors, const ConstBlock& columns) {
  Matrix result(a.rows(), a.cols() + columns.cols());
  result << a, factors.asDiagonal() * columns;
  return result;
}

// The rows [first, first + basis.rows()) of X = diag(d) + L R^T, d >= 0, in two bases. Orthonormal
// columns G span diag(d)^(1/2) times these rows of d^p L and d^p R for p up to some power; the
// columns of `basis` span those and diag(d)^(1/2) G, which is `basis` times `inside`.
struct PanelBasis {
  Index first;
  Matrix basis;
  Matrix inside;
  double residual = 0.0;  // Frobenius norm of diag(d)^(1/2) G - basis F
};

PanelBasis basis_of_kept(Index first, const Vector& d) {
  // Few classes, with a column each.
  return {first, Matrix::Identity(d.size(), d.size()), Matrix(d.cwiseSqrt().asDiagonal())};
}

PanelBasis panel_basis(const Problem& problem, const Panel& panel, const Vector& d,
                       int highest_power) {
  if (panel.kept) {
    return basis_of_kept(panel.first, d);
  }
  const Vector root = problem.multiplicity.segment(panel.first, panel.count).cwiseSqrt();
  const Vector root_count = problem.count.segment(panel.first, panel.count).cwiseSqrt();
  const Matrix left = root.asDiagonal() * panel.interpolation;
  const Matrix rows = append_scaled(left, root_count, left);
  const double largest = d.maxCoeff();
  if (!(largest > 0.0)) {
    return {panel.first, spanning_basis(rows), Matrix(0, 0)};
  }
  const Vector shape = d / largest;
  Matrix powers = rows;
  for (int power = 1; power <= highest_power; ++power) {
    powers = append_scaled(powers, shape, powers.rightCols(rows.cols()));
  }
  const Vector root_d = d.cwiseSqrt();
  const Matrix columns = root_d.asDiagonal() * spanning_basis(root_d.asDiagonal() * powers);
  Matrix all(powers.rows(), powers.cols() + columns.cols());
  all << powers, columns;
  PanelBasis result;
  result.first = panel.first;
  result.basis = spanning_basis(std::move(all));
  result.inside = result.basis.transpose() * columns;
  result.residual = (columns - result.basis * result.inside).norm();
  return result;
}

// basis^T * (rows of a matrix); adds what the basis misses of them to squares.
Matrix in_basis(const PanelBasis& panel, const Matrix& a, double& squares) {
  const auto rows = a.middleRows(panel.first, panel.basis.rows());
  Matrix result = panel.basis.transpose() * rows;
  squares += (rows - panel.basis * result).squaredNorm();
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

double nuclear_norm_bound(const Problem& problem, const Reduction& reduction,
                          const StructuredMatrix& matrix, int highest_power, Monitor& monitor) {
  // For orthonormal columns G, D - D^(1/2) G G^T D^(1/2) is positive semidefinite: its nuclear norm
  // is its trace. What it leaves of X = D + L R^T has few columns and rows, all within the span of
  // the panels' bases Q: Q (F F^T + Q^T L R^T Q) Q^T. The triangle inequality adds the two, and is
  // sharp up to second order in how far D leaves the span. What rounding leaves outside of the span
  // is added too.
  const Index columns = matrix.left.cols();
  std::vector<PanelBasis> bases;
  Index size = 0;
  for (const Panel& panel : reduction.panels) {
    monitor.check();
    bases.push_back(panel_basis(problem, panel, matrix.diagonal.segment(panel.first, panel.count),
                                highest_power));
    size += bases.back().basis.cols();
  }
  Matrix left(size, columns);
  Matrix right(size, columns);
  double left_squares = 0.0;
  double right_squares = 0.0;
  Index at = 0;
  for (const PanelBasis& panel : bases) {
    const Index count = panel.basis.cols();
    left.middleRows(at, count) = in_basis(panel, matrix.left, left_squares);
    right.middleRows(at, count) = in_basis(panel, matrix.right, right_squares);
    at += count;
  }
  Matrix core;
  multiply(left, Transpose::no, right, Transpose::yes, core, monitor);
  double trace = matrix.diagonal.sum();
  double missed =
      std::sqrt(left_squares) * matrix.right.norm() + std::sqrt(right_squares) * matrix.left.norm();
  at = 0;
  for (const PanelBasis& panel : bases) {
    const Index count = panel.basis.cols();
    if (panel.inside.cols() > 0) {
      core.block(at, at, count, count).noalias() += panel.inside * panel.inside.transpose();
      trace -= panel.inside.squaredNorm();
      missed += 4.0 * panel.residual * panel.inside.norm();
    }
    at += count;
  }
  // Rounding in sums and in the singular values is of the order of 1e-15 times the root of the
  // size.
  constexpr double rounding = 1e-13;
  return (std::max(trace, 0.0) + nuclear_norm(core, monitor)) * (1.0 + rounding) + missed;
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
