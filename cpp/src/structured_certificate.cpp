// The certificate of a continuum point in time and memory proportional to the number of clusters.
//
// Off the diagonal the gradient is G_li = sqrt(k_l) exp(F(x_l, x_i) + b(x_l)) q_i with a smooth F.
// exp(F + b) is interpolated between all pairs of clusters with a proved error (smooth_kernel.hpp),
// so that sums over clusters are sums over fine nodes, and G = diag(D) + P Q^T + E with few columns
// in P and Q and a small bound of E.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "ufm/gradient_form.hpp"
#include "ufm/linalg.hpp"
#include "ufm/smooth_kernel.hpp"
#include "ufm/structured.hpp"

namespace ufm {
namespace {

// The largest error of the kernel: what it costs the gap, some hundred times as much, must leave
// room.
double largest_error(double tol) { return std::max(1e-4 * tol, 1e-11); }

// Up to this many clusters an unregularised bias has to solve its equation nearly exactly, so that
// checks by whole matrices that charge its residual in a simpler way come to the same gap.
constexpr Index bias_solved_exactly = 2048;

class SmoothCertifier {
 public:
  SmoothCertifier(const BlockLoss& loss, const Reduction& reduction, const SmoothKernel& kernel,
                  const ContinuumPoint& point, Monitor& monitor)
      : loss_(loss),
        problem_(loss.problem()),
        reduction_(reduction),
        kernel_(kernel),
        point_(point),
        monitor_(monitor),
        root_(problem_.multiplicity.cwiseSqrt()) {}

  // False where a sum over other clusters is lost in rounding beside the own one.
  bool evaluate_columns() {
    const Vector& k = problem_.multiplicity;
    const Matrix weighted_values = kernel_.values.cwiseProduct(kernel_.logits);
    const Vector mass = kernel_.gather(k);
    own_values_ = kernel_.diagonal(kernel_.values);
    const Vector all = kernel_.spread(kernel_.values.transpose() * mass);
    const Vector sums = all - k.cwiseProduct(own_values_);
    const Vector weighted = kernel_.spread(weighted_values.transpose() * mass) -
                            k.cwiseProduct(kernel_.diagonal(weighted_values));
    // Rounding in all is amplified in what the own cluster leaves of it.
    amplified_ = (all.array() / sums.array()).maxCoeff();
    if (!(sums.minCoeff() > 0.0) || !(amplified_ < 100.0)) {
      return false;
    }
    const Vector others = own_logits();
    loss_.begin(state_);
    to_probability_.resize(problem_.size());
    for (Index i = 0; i < problem_.size(); ++i) {
      add_column(i, others[i], sums[i], weighted[i]);
    }
    return true;
  }

  CertifiedPoint finish(double tol) {
    CertifiedPoint result;
    result.point.bias = point_.bias;
    PartsError error;
    // A probability has the error of exp(F + b) and that of the sum it is divided by.
    error.relative = 2.5 * amplified_ * kernel_.error;
    error.interpolated_bias = problem_.size() > bias_solved_exactly;
    error.entropy =
        amplified_ * kernel_.weighted_error + 3.0 * error.relative * (1.0 + largest_logarithm_);
    const NormBound bound = norm_bound(gradient_form(), problem_.lambda_z, 1e-2 * tol, monitor_);
    const Vector imbalance = bias_gradient();
    for (const int power : {usual_power, accurate_power}) {
      result.nuclear_norm = nuclear_norm_bound(problem_, reduction_, point_.m, power, monitor_);
      result.certificate = certify_from_parts(loss_, state_, point_.bias, imbalance,
                                              result.nuclear_norm, bound, error);
      if (result.certificate.relative_gap <= tol) {
        break;
      }
    }
    result.state = std::move(state_);
    return result;
  }

 private:
  // F + b at (i, i): the logit of another class of the cluster.
  Vector own_logits() const {
    Vector result = kernel_.diagonal(kernel_.logits);
    for (const FinePanel& panel : kernel_.panels) {
      if (panel.exact()) {
        result.segment(panel.first, panel.count) =
            kernel_.logits.diagonal().segment(panel.first_node, panel.size);
      }
    }
    return result;
  }

  void add_column(Index i, double other_logit, double sum, double weighted) {
    const double k = problem_.multiplicity[i];
    // Mean logit of the own cluster.
    const double centre = other_logit + point_.m.diagonal[i] / (k * std::sqrt(problem_.count[i]));
    OtherClasses others;
    others.top = std::log(sum) - centre;
    others.sum = 1.0;
    others.weighted = weighted / sum - centre;
    double to_mass = 0.0;
    const ColumnState column = loss_.column_of(i, others, 0.0, to_mass);
    loss_.add_column(i, column, state_);
    // exp(F + b) times this is the probability of another class.
    to_probability_[i] = to_mass / sum;
    largest_logarithm_ =
        std::max(largest_logarithm_, 2.0 * kernel_.largest_logit + std::abs(centre) +
                                         2.0 * column.spread + column.log_own);
  }

  // Of the loss alone, per cluster.
  Vector bias_gradient() const {
    const Vector weights = problem_.multiplicity.cwiseProduct(problem_.loss_weight);
    const Vector scaled = weights.cwiseProduct(to_probability_);
    const Vector others =
        kernel_.spread(kernel_.values * kernel_.gather(scaled)) - own_values_.cwiseProduct(scaled);
    return root_.cwiseProduct(others - problem_.loss_weight.cwiseProduct(state_.rest));
  }

  GradientForm gradient_form() const {
    const Vector weight = problem_.loss_weight.cwiseQuotient(problem_.count.cwiseSqrt());
    const Vector columns = root_.cwiseProduct(weight).cwiseProduct(to_probability_);
    const Vector own = weight.cwiseProduct(state_.rest);
    GradientForm form = low_rank(columns);
    form.remainder += 2.5 * kernel_.error * (form.left.norm() * form.right.norm() + own.maxCoeff());
    form.diagonal = -own - root_.cwiseProduct(columns).cwiseProduct(own_values_);
    return form;
  }

  // diag(root) Phi V Phi^T diag(columns) with few columns, Phi the interpolation and V the values:
  // by the singular values of V between columns of Phi of norm 1.
  GradientForm low_rank(const Vector& columns) const {
    const Vector left_norm = norms(root_);
    const Vector right_norm = norms(columns);
    const Svd svd =
        thin_svd(left_norm.asDiagonal() * kernel_.values * right_norm.asDiagonal(), monitor_);
    const double largest = svd.values.size() > 0 ? svd.values[0] : 0.0;
    const Index rank = std::max<Index>((svd.values.array() > 1e-15 * largest).count(), 1);
    const Vector root = svd.values.head(rank).cwiseSqrt();
    GradientForm form;
    form.left = scaled_rows(root_, left_norm.cwiseInverse().asDiagonal() *
                                       (svd.left.leftCols(rank) * root.asDiagonal()));
    form.right = scaled_rows(columns, right_norm.cwiseInverse().asDiagonal() *
                                          (svd.right.leftCols(rank) * root.asDiagonal()));
    // What the singular values leave out, rounding included. The columns of a panel have norm 1, so
    // that together they have at most the root of their number.
    Index most = 1;
    for (const FinePanel& panel : kernel_.panels) {
      most = std::max(most, panel.exact() ? Index{1} : panel.size);
    }
    const double left_out = svd.values.tail(svd.values.size() - rank).norm() + 1e-14 * largest;
    form.remainder = static_cast<double>(most) * left_out;
    return form;
  }

  // Norms of the columns of diag(factors) Phi, or more where they are next to nothing.
  Vector norms(const Vector& factors) const {
    const double scale = std::max(factors.cwiseAbs().maxCoeff(), 1e-300);
    const Vector squares = (factors / scale).cwiseAbs2();
    Vector result(kernel_.num_nodes());
    for (const FinePanel& panel : kernel_.panels) {
      const auto given = squares.segment(panel.first, panel.count);
      auto part = result.segment(panel.first_node, panel.size);
      if (panel.exact()) {
        part = given;
      } else {
        part = panel.rows.cwiseAbs2().transpose() * given;
      }
    }
    return scale * result.cwiseSqrt().cwiseMax(1e-150);
  }

  // diag(factors) Phi matrix
  Matrix scaled_rows(const Vector& factors, const Matrix& matrix) const {
    Matrix result(problem_.size(), matrix.cols());
    for (const FinePanel& panel : kernel_.panels) {
      const auto given = factors.segment(panel.first, panel.count);
      const auto part = matrix.middleRows(panel.first_node, panel.size);
      auto rows = result.middleRows(panel.first, panel.count);
      if (panel.exact()) {
        rows = given.asDiagonal() * part;
      } else {
        rows.noalias() = panel.rows * part;
        rows.array().colwise() *= given.array();
      }
    }
    return result;
  }

  const BlockLoss& loss_;
  const Problem& problem_;
  const Reduction& reduction_;
  const SmoothKernel& kernel_;
  const ContinuumPoint& point_;
  Monitor& monitor_;
  Vector root_;
  Vector own_values_;  // interpolated exp(F + b) at (i, i); zero where it is not part of the sums
  Vector to_probability_;
  LossState state_;
  double amplified_ = 1.0;
  double largest_logarithm_ = 0.0;
};

}  // namespace

std::optional<CertifiedPoint> certify_smooth(const BlockLoss& loss, const Reduction& reduction,
                                             const ContinuumPoint& point, double tol,
                                             Monitor& monitor) {
  const SmoothKernel kernel = smooth_kernel(reduction, point);
  if (!(kernel.error <= largest_error(tol))) {
    return std::nullopt;
  }
  SmoothCertifier certifier(loss, reduction, kernel, point, monitor);
  if (!certifier.evaluate_columns()) {
    return std::nullopt;
  }
  return certifier.finish(tol);
}

}  // namespace ufm
