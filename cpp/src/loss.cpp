#include "ufm/loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ufm/kernels.hpp"

namespace ufm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// log(1 + exp(x)) without overflow.
double softplus(double x) {
  return x > 0.0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

}  // namespace

SpreadEquation::SpreadEquation(double multiplicity, double theta) : multiplicity_(multiplicity) {
  const double gain = (1.0 - theta) / theta;
  constant_ = std::log1p(gain * multiplicity);
  log_gain_ = std::log(gain) - constant_;
}

double SpreadEquation::solve(double log_others, double guess) const {
  // d = log1p((1 - theta) (exp(log_others + d / k) + k) / theta). The difference of the two sides
  // is increasing and concave in d with slope at least 1 - 1/k: from anywhere Newton's first step
  // ends left of the root, from where it converges monotonically.
  const double k = multiplicity_;
  const double log_gain = log_gain_ + log_others;
  const double least = std::max(constant_, 0.0);  // left of the root
  double d = std::max(least, guess);
  for (int iteration = 0; iteration < 100; ++iteration) {
    // In units of the constant term: d = constant + log(1 + exp(log_gain + d / k)).
    const double argument = log_gain + d / k;
    const double small = std::exp(-std::abs(argument));
    const double right = constant_ + std::max(argument, 0.0) + std::log1p(small);
    const double slope = 1.0 - (argument > 0.0 ? 1.0 : small) / ((1.0 + small) * k);
    const double next = std::max(d + (right - d) / slope, least);
    const double step = next - d;
    d = next;
    // The error after a step is below its square over the slope.
    if (!(step * step > 1e-16 * slope * (1.0 + d))) {
      break;
    }
  }
  return d;
}

Vector LossState::take_amplitudes(const Problem& problem) {
  spread.array() *= problem.count.array().sqrt();
  if (problem.scale.size()) {
    spread.array() /= problem.scale.array();
  }
  return std::move(spread);
}

void LossState::drop_columns() {
  mass = Matrix();
  for (Vector* vector : {&own_other, &rest, &p_own, &log_own, &mean_log}) {
    *vector = Vector();
  }
}

BlockLoss::BlockLoss(const Problem& problem)
    : problem_(problem),
      num_classes_(problem.num_classes()),
      offset_(problem.all_offsets()),
      row_scale_(problem.all_scales().array() / problem.multiplicity.array().sqrt()),
      column_scale_((problem.multiplicity.array() * problem.count.array()).rsqrt()),
      cluster_weight_(problem.multiplicity.cwiseProduct(problem.loss_weight)) {}

double BlockLoss::smoothing_term(Index i, const double* m_column, const Vector& bias,
                                 double own_logit, double spread) const {
  // -(epsilon / K) sum over wrong classes of their logit relative to the own class.
  double sum = -(problem_.multiplicity[i] - 1.0) * spread;
  for (Index j = 0; j < problem_.size(); ++j) {
    if (j != i) {
      const double logit = row_scale_[j] * (m_column[j] * column_scale_[i] + bias[j]) + offset_[j];
      sum += problem_.multiplicity[j] * (logit - own_logit);
    }
  }
  return -problem_.smoothing / num_classes_ * sum;
}

ColumnState BlockLoss::column_of(Index i, const OtherClasses& others, double spread_guess,
                                 double& to_mass) const {
  const double k = problem_.multiplicity[i];
  const bool alone = others.sum == 0.0;
  const double log_others = alone ? -infinity : others.top + std::log(others.sum);

  const bool active = problem_.amplitude_active(i);
  const double d =
      active ? solve_spread(log_others, k, problem_.threshold_ratio(i), spread_guess) : 0.0;
  const double own_shift = d * (1.0 - 1.0 / k);  // own logit relative to the cluster's mean

  // Odds of the wrong classes against the own class, in logarithms.
  const double log_cluster = k > 1.0 ? std::log(k - 1.0) - d : -infinity;
  const double log_rest = log_others - own_shift;
  const double top = std::max(log_cluster, log_rest);
  const double log_odds =
      std::isfinite(top) ? top + std::log(std::exp(log_cluster - top) + std::exp(log_rest - top))
                         : top;
  ColumnState column;
  column.log_own = softplus(log_odds);
  column.p_own = std::exp(-column.log_own);
  column.own_other = std::exp(log_cluster - column.log_own);
  column.spread = d;
  to_mass = alone ? 0.0 : std::exp(others.top - own_shift - column.log_own);
  column.rest = to_mass * others.sum;
  column.mean_log = to_mass * (others.weighted - own_shift * others.sum) - d * column.own_other;
  column.loss = column.log_own;
  return column;
}

ColumnState BlockLoss::evaluate_column(Index i, const double* m_column, const Vector& bias,
                                       double* x, double spread_guess) const {
  const Index size = problem_.size();
  const double centre = row_scale_[i] * (m_column[i] * column_scale_[i] + bias[i]) + offset_[i];
  kernels::shifted_logits(size, m_column, column_scale_[i], bias.data(), row_scale_.data(),
                          offset_.data(), centre, x);
  x[i] = -infinity;
  OtherClasses others;
  if (size > 1) {
    others.top = kernels::largest(size, x);
    const kernels::ExponentialSums sums =
        kernels::exponentials(size, problem_.multiplicity.data(), others.top, x);
    others.sum = sums.sum;
    others.weighted = sums.weighted;
  }
  double to_mass = 0.0;
  ColumnState column = column_of(i, others, spread_guess, to_mass);
  Eigen::Map<Vector>(x, size) *= to_mass;
  if (problem_.smoothing > 0.0) {
    const double own_shift = column.spread * (1.0 - 1.0 / problem_.multiplicity[i]);
    column.loss += smoothing_term(i, m_column, bias, centre + own_shift, column.spread);
  }
  return column;
}

void BlockLoss::begin(LossState& state) const {
  for (Vector* vector : {&state.own_other, &state.rest, &state.p_own, &state.log_own,
                         &state.mean_log, &state.spread}) {
    vector->resize(problem_.size());
  }
  state.value = 0.0;
  state.amplitude_norm = 0.0;
}

void BlockLoss::add_column(Index i, const ColumnState& column, LossState& state) const {
  state.own_other[i] = column.own_other;
  state.rest[i] = column.rest;
  state.p_own[i] = column.p_own;
  state.log_own[i] = column.log_own;
  state.mean_log[i] = column.mean_log;
  state.spread[i] = column.spread;
  const double amplitude_norm = (problem_.multiplicity[i] - 1.0) * column.spread *
                                std::sqrt(problem_.count[i]) / problem_.scale_of(i);
  state.amplitude_norm += amplitude_norm;
  state.value += cluster_weight_[i] * column.loss + problem_.lambda_z * amplitude_norm;
}

void BlockLoss::evaluate(const Matrix& m, const Vector& bias, LossState& state) const {
  const Index size = problem_.size();
  const bool again = state.spread.size() == size;  // what the state held before is a good guess
  state.mass.resize(size, size);
  begin(state);
  for (Index i = 0; i < size; ++i) {
    const double guess = again && std::isfinite(state.spread[i]) ? state.spread[i] : 0.0;
    add_column(i, evaluate_column(i, m.col(i).data(), bias, state.mass.col(i).data(), guess),
               state);
  }
}

void BlockLoss::gradient(const LossState& state, Matrix& grad_m, Vector& grad_bias) const {
  const Index size = problem_.size();
  const double smooth = problem_.smoothing / num_classes_;
  grad_m = state.mass;
  for (Index i = 0; i < size; ++i) {
    // Probabilities minus labels, summed over the classes of each cluster.
    if (smooth > 0.0) {
      grad_m.col(i) -= smooth * problem_.multiplicity;
    }
    grad_m(i, i) = -state.rest[i] + problem_.smoothing - smooth * problem_.multiplicity[i];
  }
  grad_bias.noalias() = grad_m * cluster_weight_;
  grad_bias.array() *= row_scale_.array();
  for (Index i = 0; i < size; ++i) {
    grad_m.col(i).array() *= row_scale_.array() * (cluster_weight_[i] * column_scale_[i]);
  }
}

void BlockLoss::hessian_product(const LossState& state, const Matrix& dm, const Vector& dbias,
                                Matrix& product_m, Vector& product_bias) const {
  const Index size = problem_.size();
  product_m.resize(size, size);
  product_bias.setZero(size);
  for (Index i = 0; i < size; ++i) {
    double* z = product_m.col(i).data();
    const double* mass = state.mass.col(i).data();
    const double centre = row_scale_[i] * (dm(i, i) * column_scale_[i] + dbias[i]);
    const double z_sum = kernels::logit_changes(size, dm.col(i).data(), column_scale_[i],
                                                dbias.data(), row_scale_.data(), centre, mass, z);
    const double own = state.p_own[i];
    const double other = state.own_other[i];
    const double rest = state.rest[i];
    const double kappa = 1.0 - 1.0 / problem_.multiplicity[i];
    double d_spread = 0.0;
    if (problem_.amplitude_active(i)) {
      // The amplitude follows M and b so that its optimality equation keeps holding.
      const double variance =
          own * (kappa * kappa * rest + other) + rest * other * (1.0 - kappa) * (1.0 - kappa);
      const double covariance = z_sum * (kappa * own - other / problem_.multiplicity[i]);
      d_spread = variance > 0.0 ? covariance / variance : 0.0;
    }
    const double mean = z_sum - d_spread * (kappa * rest + other);
    const double shift = d_spread * kappa + mean;
    kernels::weigh_changes(size, mass, shift, z);
    z[i] = -(z_sum - shift * rest);
    product_bias += cluster_weight_[i] * product_m.col(i);
    product_m.col(i).array() *= row_scale_.array() * (cluster_weight_[i] * column_scale_[i]);
  }
  product_bias.array() *= row_scale_.array();
}

void BlockLoss::hessian_diagonal(const LossState& state, Matrix& diagonal_m,
                                 Vector& diagonal_bias) const {
  const Index size = problem_.size();
  const Eigen::ArrayXd row_square = row_scale_.array().square();
  diagonal_m = (state.mass.array() * (1.0 - state.mass.array())).matrix();
  for (Index i = 0; i < size; ++i) {
    diagonal_m(i, i) = state.rest[i] * (1.0 - state.rest[i]);
  }
  diagonal_bias.noalias() = diagonal_m * cluster_weight_;
  diagonal_bias.array() *= row_square;
  for (Index i = 0; i < size; ++i) {
    const double column = cluster_weight_[i] * column_scale_[i] * column_scale_[i];
    diagonal_m.col(i).array() *= row_square * column;
  }
}

Vector BlockLoss::amplitude_gradient(const LossState& state) const {
  Vector result = Vector::Zero(problem_.size());
  for (Index i = 0; i < problem_.size(); ++i) {
    if (problem_.multiplicity[i] > 1.0) {
      const double other = state.own_other[i] / (problem_.multiplicity[i] - 1.0);
      result[i] = problem_.loss_weight[i] * problem_.scale_of(i) / std::sqrt(problem_.count[i]) *
                  (state.deficit(i) - problem_.smoothing + other);
    }
  }
  return result;
}

}  // namespace ufm
