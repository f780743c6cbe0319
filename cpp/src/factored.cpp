// Trust-region Newton on M = U V^T with penalty (lambda_z / 2) (||U||^2 + ||V||^2).
//
// With as many columns as rows every local minimum of the factored form is global. In these
// coordinates the curvature is close to lambda_z in all directions, however small lambda_z is,
// which is why the factored form needs few iterations where gradient steps in M need many.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ufm/bias.hpp"
#include "ufm/linalg.hpp"
#include "ufm/solve.hpp"
#include "ufm/stopwatch.hpp"
#include "ufm/trust_region.hpp"

namespace ufm {
namespace {

using Map = Eigen::Map<Matrix>;
using ConstMap = Eigen::Map<const Matrix>;

class FactoredModel final : public SmoothModel {
 public:
  FactoredModel(const BlockLoss& loss, Index rank, const SolveOptions& options, Monitor& monitor)
      : loss_(loss),
        size_(loss.problem().size()),
        rank_(rank),
        has_bias_(loss.problem().has_bias()),
        bias_penalty_(loss.problem()),
        flat_direction_(loss.problem().flat_direction()),
        largest_coupling_(largest_coupling(loss.problem())),
        options_(options),
        monitor_(monitor) {}

  Index dimension() const { return 2 * size_ * rank_ + (has_bias_ ? size_ : 0); }

  // The point's coordinates, with the columns of U moved off the flat direction. No gradient or
  // Hessian product of the loss leads back to it, so every later point stays there.
  Vector pack(const Matrix& left, const Matrix& right, const Vector& bias) const {
    Vector x(dimension());
    x << left.reshaped(), right.reshaped(), (has_bias_ ? bias : Vector());
    centre(Map(x.data(), size_, rank_));
    return x;
  }

  double trial_value(const Vector& x) override {
    unpack(x, trial_.left, trial_.right, trial_.bias);
    multiply(trial_.left, Transpose::no, trial_.right, Transpose::yes, m_, monitor_);
    loss_.evaluate(m_, trial_.bias, trial_.loss);
    trial_.nuclear_norm = 0.5 * x.head(2 * size_ * rank_).squaredNorm();
    const double value = trial_.loss.value + lambda_z() * trial_.nuclear_norm;
    return has_bias_ ? value + bias_penalty_.value(trial_.bias) : value;
  }

  void accept_trial() override {
    std::swap(trial_, current_);
    loss_.gradient(current_.loss, gradient_m_, gradient_bias_);
  }

  void gradient(Vector& g) override {
    g.resize(dimension());
    Map left(g.data(), size_, rank_);
    Map right(g.data() + size_ * rank_, size_, rank_);
    left = lambda_z() * current_.left;
    right = lambda_z() * current_.right;
    add_product(gradient_m_, Transpose::no, current_.right, Transpose::no, left);
    add_product(gradient_m_, Transpose::yes, current_.left, Transpose::no, right);
    if (has_bias_) {
      bias_ = gradient_bias_;
      bias_penalty_.add_gradient(current_.bias, bias_);
      g.tail(size_) = bias_;
    }
  }

  void hessian_product(const Vector& direction, Vector& product) override {
    ++products_;
    const ConstMap d_left(direction.data(), size_, rank_);
    const ConstMap d_right(direction.data() + size_ * rank_, size_, rank_);
    if (has_bias_) {
      bias_ = direction.tail(size_);
    } else {
      bias_.setZero(size_);
    }
    multiply(d_left, Transpose::no, current_.right, Transpose::yes, m_, monitor_);
    add_product(current_.left, Transpose::no, d_right, Transpose::yes, m_);
    loss_.hessian_product(current_.loss, m_, bias_, product_m_, product_bias_);
    product.resize(dimension());
    Map left(product.data(), size_, rank_);
    Map right(product.data() + size_ * rank_, size_, rank_);
    left = lambda_z() * d_left;
    right = lambda_z() * d_right;
    add_product(product_m_, Transpose::no, current_.right, Transpose::no, left);
    add_product(gradient_m_, Transpose::no, d_right, Transpose::no, left);
    add_product(product_m_, Transpose::yes, current_.left, Transpose::no, right);
    add_product(gradient_m_, Transpose::yes, d_left, Transpose::no, right);
    if (has_bias_) {
      bias_penalty_.add_gradient(bias_, product_bias_);
      product.tail(size_) = product_bias_;
    }
  }

  // The factors' entries (U_il, V_il) in 2 x 2 blocks, coupled by G_ii. Where class i is active,
  // G_ii is close to -lambda_z, so that equal changes of both entries meet curvature from the loss
  // alone; a diagonal preconditioner misses that and needs many times the products when a
  // threshold lies inside the counts. The flat direction is left out: along it M never moves.
  void prepare_preconditioner() override {
    loss_.hessian_diagonal(current_.loss, product_m_, bias_diagonal_);
    multiply(product_m_, Transpose::no, current_.right.cwiseAbs2(), Transpose::no, block_left_,
             monitor_);
    multiply(product_m_, Transpose::yes, current_.left.cwiseAbs2(), Transpose::no, block_right_,
             monitor_);
    block_left_.array() += lambda_z();
    block_right_.array() += lambda_z();
    coupling_ = (gradient_m_.diagonal() - lambda_z() * flat_direction_.cwiseAbs2())
                    .cwiseMax(-largest_coupling_)
                    .cwiseMin(largest_coupling_);
    inverse_determinant_ =
        ((block_left_.array() * block_right_.array()).colwise() - coupling_.array().square())
            .inverse();
    if (has_bias_) {
      bias_penalty_.add_diagonal(bias_diagonal_);
    }
  }

  void precondition(const Vector& r, Vector& y) const override {
    y.resize(r.size());
    const ConstMap r_left(r.data(), size_, rank_);
    const ConstMap r_right(r.data() + size_ * rank_, size_, rank_);
    Map y_left(y.data(), size_, rank_);
    Map y_right(y.data() + size_ * rank_, size_, rank_);
    centred_left_ = r_left;
    centre(centred_left_);
    y_left = inverse_determinant_.array() * (block_right_.array() * centred_left_.array() -
                                             r_right.array().colwise() * coupling_.array());
    y_right = inverse_determinant_.array() * (block_left_.array() * r_right.array() -
                                              centred_left_.array().colwise() * coupling_.array());
    centre(y_left);
    if (has_bias_) {
      y.tail(size_) = r.tail(size_).cwiseQuotient(bias_diagonal_);
      bias_penalty_.centre(y.tail(size_));
    }
  }

  double squared_norm(const Vector& x) const override {
    const ConstMap left(x.data(), size_, rank_);
    const ConstMap right(x.data() + size_ * rank_, size_, rank_);
    double sum = (block_left_.array() * left.array().square() +
                  block_right_.array() * right.array().square() +
                  (left.array() * right.array()).colwise() * (2.0 * coupling_.array()))
                     .sum();
    if (has_bias_) {
      sum += x.tail(size_).cwiseAbs2().dot(bias_diagonal_);
    }
    return sum;
  }

  bool finished(int /*iteration*/, double value, double predicted_decrease) override {
    ++iterations_;
    // The gap falls like the square root of the decrease, with a factor of 0.05 to 0.2 on problems
    // of 3 to 1000 clusters.
    const double worth_a_look =
        std::max(std::min(10.0 * options_.tol, 1e4 * options_.tol * options_.tol), 1e-12);
    if (predicted_decrease > worth_a_look * std::abs(value)) {
      monitor_.report(iterations_, value, std::numeric_limits<double>::quiet_NaN());
      return false;
    }
    certify_current();
    monitor_.report(iterations_, value, best_.gap);
    if (best_.gap > options_.tol) {
      // At the limits of double precision neither the objective nor the gap improves any more.
      const bool no_progress =
          gap_ > 0.5 * last_gap_ && predicted_decrease < 1e-13 * std::abs(value);
      last_gap_ = gap_;
      no_progress_ = no_progress ? no_progress_ + 1 : 0;
      return no_progress_ >= 5;
    }
    // Tiny problems go on for a few nearly free iterations, until the objective is at rounding.
    const bool at_rounding = predicted_decrease <= 1e-14 * std::abs(value) || best_.gap <= 1e-12;
    return size_ > tiny_problem || at_rounding || ++refinements_ > 3;
  }

  void certify_current() {
    const Stopwatch stopwatch(certificate_seconds_);
    multiply(current_.left, Transpose::no, current_.right, Transpose::yes, m_, monitor_);
    certificate_ = certify_at_best_bias(loss_, m_, current_.bias, current_.loss,
                                        current_.nuclear_norm, options_.tol, monitor_);
    gap_ = certificate_.relative_gap;
    if (gap_ < best_.gap) {
      best_ = {current_.left, current_.right, current_.bias, current_.nuclear_norm, gap_};
    }
  }

  // Moves along the strongest direction that the dual constraint says is missing, into the
  // weakest column; leaves a saddle point where plain Newton steps cannot.
  Vector escape() {
    const Vector strengths =
        current_.left.colwise().norm().cwiseProduct(current_.right.colwise().norm());
    Index weakest = 0;
    strengths.minCoeff(&weakest);
    const double push = 1e-3 * std::sqrt(std::max(strengths.maxCoeff(), 1.0));
    Matrix left = current_.left;
    Matrix right = current_.right;
    left.col(weakest) += push * certificate_.between.left;
    right.col(weakest) -= push * certificate_.between.right;
    return pack(left, right, current_.bias);
  }

  double best_gap() const { return best_.gap; }
  bool is_stuck() const { return no_progress_ >= 5; }
  bool has_point() const { return current_.left.size() > 0; }

  Iterate result() {
    // The best iterate that was certified, or the last one if none was.
    const bool certified = best_.left.size() > 0;
    Iterate iterate;
    multiply(certified ? best_.left : current_.left, Transpose::no,
             certified ? best_.right : current_.right, Transpose::yes, iterate.point.m, quiet_);
    iterate.point.bias = certified ? best_.bias : current_.bias;
    iterate.nuclear_norm = certified ? best_.nuclear_norm : current_.nuclear_norm;
    iterate.relative_gap = best_.gap;
    if (certified) {
      iterate.left = std::move(best_.left);
      iterate.right = std::move(best_.right);
    }
    iterate.iterations = iterations_;
    iterate.inner_iterations = products_;
    iterate.certificate_seconds = certificate_seconds_;
    return iterate;
  }

 private:
  struct State {
    Matrix left;
    Matrix right;
    Vector bias;
    LossState loss;
    double nuclear_norm = 0.0;
  };

  struct Best {
    Matrix left;
    Matrix right;
    Vector bias;
    double nuclear_norm = 0.0;
    double gap = std::numeric_limits<double>::infinity();
  };

  double lambda_z() const { return loss_.problem().lambda_z; }

  // Just below lambda_z, where the 2 x 2 blocks would become singular: by 1 to 10 percent, the less
  // the closer the class is to its threshold, where soft directions are the softest.
  static Vector largest_coupling(const Problem& problem) {
    const Vector ratios = problem.threshold_ratios(0, problem.size());
    return problem.lambda_z * (1.0 - (ratios.array() - 1.0).abs().max(0.01).min(0.1));
  }

  void centre(Block left) const {
    const Eigen::RowVectorXd along = flat_direction_.transpose() * left;
    left.noalias() -= flat_direction_ * along;
  }

  void add_product(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
                   Block result) {
    multiply_into(a, op_a, b, op_b, 1.0, result, monitor_);
  }

  void unpack(const Vector& x, Matrix& left, Matrix& right, Vector& bias) const {
    left = ConstMap(x.data(), size_, rank_);
    right = ConstMap(x.data() + size_ * rank_, size_, rank_);
    if (has_bias_) {
      bias = x.tail(size_);
    } else {
      bias.setZero(size_);
    }
  }

  const BlockLoss& loss_;
  Index size_;
  Index rank_;
  bool has_bias_;
  BiasPenalty bias_penalty_;
  Vector flat_direction_;
  Vector largest_coupling_;
  const SolveOptions& options_;
  Monitor& monitor_;
  Monitor quiet_;
  State trial_;
  State current_;
  Matrix gradient_m_;
  Vector gradient_bias_;
  Certificate certificate_;
  double gap_ = std::numeric_limits<double>::infinity();
  double last_gap_ = std::numeric_limits<double>::infinity();
  Best best_;
  int refinements_ = 0;
  int no_progress_ = 0;
  int iterations_ = 0;
  int products_ = 0;
  double certificate_seconds_ = 0.0;
  // Work space, kept to avoid allocations in the inner loop.
  Matrix m_, product_m_;
  Vector bias_, product_bias_;
  Matrix block_left_, block_right_, inverse_determinant_;
  mutable Matrix centred_left_;
  Vector coupling_, bias_diagonal_;
};

Status reason_of(TrustRegionEnd end) {
  return end == TrustRegionEnd::iteration_limit ? Status::max_iterations : Status::numerical_error;
}

}  // namespace

Iterate solve_factored(const BlockLoss& loss, const FactoredStart& start,
                       const SolveOptions& options, Monitor& monitor) {
  FactoredModel model(loss, start.left.cols(), options, monitor);
  Vector x = model.pack(start.left, start.right, start.bias);
  TrustRegionOptions newton;
  newton.max_iterations = options.max_iterations > 0 ? options.max_iterations : 2000;
  Status reason = Status::max_iterations;
  try {
    for (int attempt = 0; attempt < 5 && newton.max_iterations > 0; ++attempt) {
      const TrustRegionResult result = trust_region(model, x, newton, monitor);
      newton.max_iterations -= result.iterations;
      reason = reason_of(result.end);
      if (result.end != TrustRegionEnd::finished) {
        model.certify_current();
      }
      if (model.best_gap() <= options.tol || result.end == TrustRegionEnd::not_finite) {
        break;
      }
      if (model.is_stuck()) {
        reason = Status::numerical_error;
        break;
      }
      x = model.escape();
    }
  } catch (const StopRequest& stop) {
    if (!model.has_point()) {
      throw;
    }
    reason = status_of(stop);
  }
  Iterate iterate = model.result();
  iterate.reason = reason;
  return iterate;
}

}  // namespace ufm
