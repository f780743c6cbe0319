#include "ufm/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ufm/bias.hpp"

namespace ufm {
namespace {

// Entropy of column i of P_s for plain labels, from quantities that are accurate when small.
double scaled_entropy(const LossState& state, Index i, double s) {
  const double wrong = state.deficit(i);
  if (!(wrong > 0.0) || !(s > 0.0)) {
    return 0.0;
  }
  const double own = (1.0 - s) + s * state.p_own[i];
  const double log_own = wrong < 0.5 ? std::log1p(-s * wrong) : std::log(own);
  const double own_term = own > 0.0 ? -own * log_own : 0.0;
  return own_term - s * wrong * std::log(s) - s * (state.mean_log[i] - wrong * state.log_own[i]);
}

// The same for smoothed labels, where P_s is not a multiple of P outside the own class.
double smoothed_entropy(const Problem& problem, const LossState& state, Index i, double s) {
  const double label = problem.smoothing / problem.num_classes();
  const auto term = [](double classes, double probability) {
    return probability > 0.0 ? -classes * probability * std::log(probability) : 0.0;
  };
  double entropy = 0.0;
  for (Index j = 0; j < problem.size(); ++j) {
    if (j != i) {
      const double k = problem.multiplicity[j];
      entropy += term(k, (1.0 - s) * label + s * state.mass(j, i) / k);
    }
  }
  const double others = problem.multiplicity[i] - 1.0;
  if (others > 0.0) {
    entropy += term(others, (1.0 - s) * label + s * state.own_other[i] / others);
  }
  const double own_label = 1.0 - problem.smoothing + label;
  return entropy + term(1.0, (1.0 - s) * own_label + s * state.p_own[i]);
}

// Inner product of P - T with the logit offsets in column i.
double offset_term(const Problem& problem, const LossState& state, Index i) {
  const double label = problem.smoothing / problem.num_classes();
  double sum = 0.0;
  for (Index j = 0; j < problem.size(); ++j) {
    if (j != i) {
      sum += (state.mass(j, i) - problem.multiplicity[j] * label) *
             (problem.offset[j] - problem.offset[i]);
    }
  }
  return sum;
}

// Bounds the error of the bias gradient where each of its terms is off by a part of its size: the
// terms of a row sum to its negative diagonal entry, up to their difference.
Vector bias_gradient_error(const Problem& problem, const LossState& state,
                           const Vector& bias_gradient, double part) {
  const Vector own = problem.multiplicity.cwiseSqrt().cwiseProduct(problem.loss_weight);
  return part * (bias_gradient.cwiseAbs() + 2.0 * own.cwiseProduct(state.rest));
}

// What it costs at most to move probability so that the bias equation, off by `imbalance`, holds
// exactly. Class j can give what it has too much of to the others in its own column, from its own
// probability p, at least half of which must be left: the entropy changes by at most log(2 / p) for
// each unit that is taken and by at most 1 for each that is given, the offsets by their range, and
// what is added to the gradient is a diagonal matrix and one of rank one. Where too little is there
// to give, or without `sharp`, any probability is taken, at |log p| of the least double and with
// the sum as norm. The gradient's norm is the scale of a feasible point.
double repair_cost(const Problem& problem, const LossState& state, const Vector& imbalance,
                   double s, double entropy, bool sharp) {
  const Vector scale = problem.all_scales();
  const Eigen::ArrayXd moved = imbalance.cwiseProduct(problem.multiplicity.cwiseSqrt())
                                   .cwiseQuotient(scale);  // by all classes of a cluster
  const double range =
      problem.offset.size() ? problem.offset.maxCoeff() - problem.offset.minCoeff() : 0.0;
  const double norm_scale = 2.0 * scale.maxCoeff() / problem.lambda_z * std::abs(entropy);
  const double anywhere =
      (750.0 + range + norm_scale / std::sqrt(problem.count.minCoeff())) * moved.sum();
  const double own_label = 1.0 - problem.smoothing + problem.smoothing / problem.num_classes();
  const Eigen::ArrayXd own = (1.0 - s) * own_label + s * state.p_own.array();
  const Eigen::ArrayXd by_class = moved / problem.multiplicity.array();
  if (!sharp || !(by_class < 0.5 * own * problem.loss_weight.array()).all()) {
    return anywhere;
  }
  const double price = (moved * (1.0 + std::log(2.0) + range - own.log())).sum();
  const double norm = std::sqrt((moved * by_class / problem.count.array()).sum());
  return std::min(anywhere, price + norm_scale * norm);
}

// What the bias costs the dual value. The dual point can be used as it is, or with a little
// probability moved so that its bias equation holds exactly, which is the only way when lambda_b is
// zero and the better one when it is tiny.
double bias_cost(const Problem& problem, const LossState& state, const Vector& bias,
                 const Vector& bias_gradient, const PartsError& error, double s, double entropy) {
  Vector imbalance = (s * bias_gradient + problem.lambda_b * bias).cwiseAbs();
  double square = bias_gradient.squaredNorm();
  if (error.relative > 0.0) {
    const Vector uncertain = bias_gradient_error(problem, state, bias_gradient, error.relative);
    imbalance += s * uncertain;
    square += uncertain.norm() * (2.0 * bias_gradient.norm() + uncertain.norm());
  }
  const double repaired =
      0.5 * problem.lambda_b * bias.squaredNorm() +
      repair_cost(problem, state, imbalance, s, entropy, error.interpolated_bias);
  if (problem.lambda_b == 0.0) {
    return repaired;
  }
  return std::min(s * s * square / (2.0 * problem.lambda_b), repaired);
}

// What an error in each column's entropy can cost at most.
double entropy_error(const Problem& problem, const LossState& state, double per_probability,
                     double s) {
  const Vector wrong = state.rest + state.own_other;
  return s * per_probability * problem.multiplicity.cwiseProduct(problem.loss_weight).dot(wrong);
}

double dual_value(const Problem& problem, const LossState& state, const Vector& bias,
                  const Vector& bias_gradient, const PartsError& error, double s) {
  const bool offsets = problem.offset.size() && problem.offset.cwiseAbs().maxCoeff() > 0.0;
  double dual = 0.0;
  for (Index i = 0; i < problem.size(); ++i) {
    double column = problem.smoothing > 0.0 ? smoothed_entropy(problem, state, i, s)
                                            : scaled_entropy(state, i, s);
    if (offsets) {
      column += s * offset_term(problem, state, i);
    }
    dual += problem.multiplicity[i] * problem.loss_weight[i] * column;
  }
  if (error.entropy > 0.0) {
    dual -= entropy_error(problem, state, error.entropy - error.relative * std::log(s), s);
  }
  return problem.has_bias() ? dual - bias_cost(problem, state, bias, bias_gradient, error, s, dual)
                            : dual;
}

}  // namespace

double relative_gap(double primal, double dual) {
  if (primal == 0.0 && dual == 0.0) {
    return 0.0;
  }
  const double gap = (primal - dual) / std::abs(primal);
  // A dual value above the primal one by more than rounding proves that one of them is wrong.
  const bool trustworthy = gap > -1e-10;
  return trustworthy ? std::max(gap, 0.0) : std::numeric_limits<double>::infinity();
}

double primal_value(const Problem& problem, const LossState& state, const Vector& bias,
                    double nuclear_norm) {
  double value = state.value + problem.lambda_z * nuclear_norm;
  if (problem.has_bias()) {
    value += 0.5 * problem.lambda_b * bias.squaredNorm();
  }
  return value;
}

Certificate certify_from_parts(const BlockLoss& loss, const LossState& state, const Vector& bias,
                               const Vector& bias_gradient, double nuclear_norm, NormBound between,
                               const PartsError& error) {
  const Problem& problem = loss.problem();
  Certificate certificate;
  certificate.between = std::move(between);
  const double within = loss.amplitude_gradient(state).maxCoeff() * (1.0 + 1e-15 + error.relative);
  certificate.operator_norm = std::max(certificate.between.upper, within);
  // Written so that a norm that is not a number spoils the dual value and, with it, the gap.
  const double s = certificate.operator_norm <= problem.lambda_z
                       ? 1.0
                       : problem.lambda_z / certificate.operator_norm;
  certificate.primal =
      primal_value(problem, state, bias, nuclear_norm) + error.relative * state.value;
  certificate.dual = dual_value(problem, state, bias, bias_gradient, error, s);
  certificate.relative_gap = relative_gap(certificate.primal, certificate.dual);
  return certificate;
}

Certificate certify(const BlockLoss& loss, const LossState& state, const Vector& bias,
                    double nuclear_norm, Monitor& monitor) {
  Matrix gradient;
  Vector bias_gradient;
  loss.gradient(state, gradient, bias_gradient);
  return certify_from_parts(loss, state, bias, bias_gradient, nuclear_norm,
                            operator_norm(gradient, monitor));
}

Certificate certify_at_best_bias(const BlockLoss& loss, const Matrix& m, const Vector& bias,
                                 const LossState& state, double nuclear_norm, double tol,
                                 Monitor& monitor) {
  const Problem& problem = loss.problem();
  if (problem.has_bias()) {
    Matrix gradient;
    Vector bias_gradient;
    loss.gradient(state, gradient, bias_gradient);
    bias_gradient += problem.lambda_b * bias;
    const double cost = bias_gradient.squaredNorm() / (2.0 * problem.lambda_b);
    const double primal = primal_value(problem, state, bias, nuclear_norm);
    if (!(cost <= 0.01 * tol * primal)) {
      Vector best_bias = bias;
      LossState best;
      minimise_bias(loss, m, best_bias, best, monitor);
      return certify(loss, best, best_bias, nuclear_norm, monitor);
    }
  }
  return certify(loss, state, bias, nuclear_norm, monitor);
}

CertifiedPoint certify_best(const BlockLoss& loss, Point point, double nuclear_norm, double tol,
                            bool always_polish, Monitor& monitor) {
  CertifiedPoint given;
  given.point = std::move(point);
  given.nuclear_norm = nuclear_norm;
  loss.evaluate(given.point.m, given.point.bias, given.state);
  given.certificate = certify(loss, given.state, given.point.bias, nuclear_norm, monitor);
  const bool enough = !always_polish && given.certificate.relative_gap <= tol;
  if (!loss.problem().has_bias() || enough) {
    return given;
  }
  CertifiedPoint best = given;
  minimise_bias(loss, best.point.m, best.point.bias, best.state, monitor);
  best.certificate = certify(loss, best.state, best.point.bias, nuclear_norm, monitor);
  const bool better = best.certificate.relative_gap <= given.certificate.relative_gap;
  return better ? best : given;
}

}  // namespace ufm
