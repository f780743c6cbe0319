// The certificate of a continuum point without any C x C matrix, by a visit to all of its entries.
//
// Off the diagonal the gradient is G_li = sqrt(k_l) exp(F(x_l, x_i) + b(x_l)) s_i with a smooth F,
// so G = diag(D) + P Q^T + E with few columns in P and Q. P and Q interpolate exp(F + b) on a finer
// set of nodes; E, what interpolation leaves out, is visited entry by entry and enters the norm
// bound by its Frobenius norm.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "ufm/gradient_form.hpp"
#include "ufm/kernels.hpp"
#include "ufm/linalg.hpp"
#include "ufm/quadrature.hpp"
#include "ufm/structured.hpp"

namespace ufm {
namespace {

constexpr double block_entries = 1 << 18;  // of the columns visited together; they fit into caches

// The rows [first, first + interpolation.rows()) of a matrix that interpolates within panels: zero
// but for the columns from first_node on.
struct PanelRows {
  Index first;
  Index first_node;
  Matrix interpolation;
};

using BlockRows = std::vector<PanelRows>;

// result = rows * nodes^T, block by block, where the rows of nodes belong to the columns of result.
void expand_rows(const BlockRows& rows, const ConstBlock& nodes, Matrix& result) {
  for (const PanelRows& panel : rows) {
    const Matrix& part = panel.interpolation;
    multiply_by_transpose(part, nodes.middleCols(panel.first_node, part.cols()),
                          result.middleRows(panel.first, part.rows()));
  }
}

// Interpolation from a finer set of nodes: to the clusters, and from the coarse nodes to it.
struct FineNodes {
  BlockRows to_clusters;      // C x f
  Matrix from_nodes;          // f x r
  std::vector<Index> single;  // fine nodes that are kept clusters of one class
};

FineNodes refine_nodes(const Problem& problem, const Reduction& reduction) {
  Index total = 0;
  for (const Panel& panel : reduction.panels) {
    total += panel.kept ? panel.count : 2 * panel.nodes.size() + 4;
  }
  FineNodes fine;
  fine.from_nodes = Matrix::Zero(total, reduction.problem.size());
  Index at = 0;
  for (const Panel& panel : reduction.panels) {
    const Index nodes = panel.nodes.size();
    if (panel.kept) {
      fine.to_clusters.push_back({panel.first, at, Matrix::Identity(panel.count, panel.count)});
      for (Index j = 0; j < panel.count; ++j) {
        fine.from_nodes(at + j, panel.first_node + j) = 1.0;
        if (problem.multiplicity[panel.first + j] == 1.0) {
          fine.single.push_back(at + j);
        }
      }
      at += panel.count;
      continue;
    }
    const Vector finer =
        chebyshev_points(panel.points[panel.count - 1], panel.points[0], 2 * nodes + 4);
    fine.to_clusters.push_back({panel.first, at, lagrange_matrix(finer, panel.points)});
    fine.from_nodes.block(at, panel.first_node, finer.size(), nodes) =
        lagrange_matrix(panel.nodes, finer);
    at += finer.size();
  }
  return fine;
}

// exp(F + b) between the fine nodes.
Matrix fine_exponentials(const FineNodes& fine, const ContinuumPoint& point) {
  Matrix logits = fine.from_nodes * point.node_values * fine.from_nodes.transpose();
  logits.colwise() += fine.from_nodes * point.node_bias;
  Matrix result = logits.array().exp();
  // The diagonal entry of a single class is its own logit, which is no part of the smooth kernel.
  for (const Index i : fine.single) {
    result(i, i) = 0.0;
  }
  return result;
}

class VisitingCertifier {
 public:
  VisitingCertifier(const BlockLoss& loss, const Reduction& reduction, const ContinuumPoint& point,
                    Monitor& monitor)
      : loss_(loss),
        problem_(loss.problem()),
        reduction_(reduction),
        point_(point),
        monitor_(monitor) {
    const Vector root = problem_.multiplicity.cwiseSqrt();
    inverse_root_ = root.cwiseInverse();
    // Without the shift that makes the columns of Z sum to zero, which no probability depends on.
    for (const Panel& panel : reduction.panels) {
      rows_.push_back({panel.first, panel.first_node,
                       root.segment(panel.first, panel.count).asDiagonal() * panel.interpolation});
    }
    const FineNodes fine = refine_nodes(problem_, reduction);
    const Matrix exponentials = fine_exponentials(fine, point).transpose();
    form_.right.resize(problem_.size(), exponentials.cols());
    expand_rows(fine.to_clusters, exponentials.transpose(), form_.right);
    form_.left = Matrix::Zero(problem_.size(), exponentials.cols());
    for (const PanelRows& panel : fine.to_clusters) {
      const Matrix& part = panel.interpolation;
      const Matrix scaled = root.segment(panel.first, part.rows()).asDiagonal() * part;
      form_.left.block(panel.first, panel.first_node, part.rows(), part.cols()) = scaled;
      fine_rows_.push_back({panel.first, panel.first_node, scaled});
    }
    form_.diagonal.resize(problem_.size());
  }

  CertifiedPoint run() {
    CertifiedPoint result;
    result.point.bias = point_.bias;
    result.nuclear_norm =
        nuclear_norm_bound(problem_, reduction_, point_.m, accurate_power, monitor_);
    loss_.begin(result.state);
    bias_gradient_ = Vector::Zero(problem_.size());
    double squares = 0.0;
    const double fitting = block_entries / static_cast<double>(problem_.size());
    const Index block = std::clamp<Index>(static_cast<Index>(fitting), 8, 128);
    for (Index first = 0; first < problem_.size(); first += block) {
      monitor_.check();
      squares += visit(first, std::min(block, problem_.size() - first), result.state);
    }
    form_.remainder = std::sqrt(squares);
    bias_gradient_.array() /= problem_.multiplicity.array().sqrt();
    result.certificate =
        certify_from_parts(loss_, result.state, point_.bias, bias_gradient_, result.nuclear_norm,
                           norm_bound(form_, problem_.lambda_z, 1e-9, monitor_));
    return result;
  }

 private:
  // Evaluates some columns; returns the squared Frobenius norm of E there.
  double visit(Index first, Index count, LossState& state) {
    const Vector& k = problem_.multiplicity;
    columns_.resize(problem_.size(), count);
    mass_.resize(problem_.size(), count);
    smooth_.resize(problem_.size(), count);
    expand_rows(rows_, point_.m.right.middleRows(first, count), columns_);
    columns_.middleRows(first, count).diagonal() += point_.m.diagonal.segment(first, count);
    Vector scale(count);
    Vector weights(count);
    for (Index c = 0; c < count; ++c) {
      const Index i = first + c;
      const ColumnState column =
          loss_.evaluate_column(i, columns_.col(c).data(), point_.bias, mass_.col(c).data());
      loss_.add_column(i, column, state);
      weights[c] = k[i] * problem_.loss_weight[i];
      bias_gradient_[i] -= weights[c] * column.rest;
      // exp(F + b) times this is the probability of another class.
      const double root_count = std::sqrt(problem_.count[i]);
      const double own_logit = columns_(i, c) / (k[i] * root_count) +
                               point_.bias[i] / std::sqrt(k[i]) +
                               column.spread * (1.0 - 1.0 / k[i]);
      const double to_probability = std::exp(-own_logit - column.log_own);
      const double weight = std::sqrt(k[i]) * problem_.loss_weight[i] / root_count;
      scale[c] = weight;
      form_.right.row(i) *= weight * to_probability;
      form_.diagonal[i] = -problem_.loss_weight[i] / root_count * column.rest;
    }
    bias_gradient_.noalias() += mass_ * weights;
    expand_rows(fine_rows_, form_.right.middleRows(first, count), smooth_);
    double squares = 0.0;
    for (Index c = 0; c < count; ++c) {
      const Index i = first + c;
      form_.diagonal[i] -= smooth_(i, c);
      smooth_(i, c) = 0.0;
      squares += kernels::squared_difference(problem_.size(), mass_.col(c).data(),
                                             inverse_root_.data(), scale[c], smooth_.col(c).data());
    }
    return squares;
  }

  const BlockLoss& loss_;
  const Problem& problem_;
  const Reduction& reduction_;
  const ContinuumPoint& point_;
  Monitor& monitor_;
  GradientForm form_;
  BlockRows rows_;       // sqrt(k) times the interpolation from the nodes
  BlockRows fine_rows_;  // the same for the finer nodes
  Vector inverse_root_;
  Vector bias_gradient_;
  Matrix columns_, mass_, smooth_;
};

}  // namespace

CertifiedPoint certify_visiting(const BlockLoss& loss, const Reduction& reduction,
                                const ContinuumPoint& point, Monitor& monitor) {
  return VisitingCertifier(loss, reduction, point, monitor).run();
}

}  // namespace ufm
