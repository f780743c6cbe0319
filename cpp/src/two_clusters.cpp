// Two clusters (derived). Every column of Z sums to zero, so that M = u v^T with the fixed unit
// vector u = (sqrt(k_2), -sqrt(k_1)) / sqrt(K) and ||M||_* = |v|; likewise the scaled bias is t u.
// With w = (v_1, -v_2), the margins of the two clusters against each other are
//     m_1 = a_1 w_1 + a_0 t,   m_2 = a_2 w_2 - a_0 t,
// and the objective is sum_i c_i phi_i(m_i) + lambda_z |w| + lambda_b t^2 / 2, where phi_i has its
// within-cluster amplitude eliminated and -phi_i' = r_i is the probability of the other cluster.
//
// Where w is not zero the gradient (c_1 a_1 r_1, c_2 a_2 r_2) has norm lambda_z and the direction
// of w. Given its direction (cos, sin), both r_i are known and both margins follow in closed form.
// What is left is one equation in q = log tan: the t that makes w parallel to the gradient must be
// the t that balances the bias. In q it is nearly linear, and Newton's method needs a handful of
// steps.
#include "ufm/two_clusters.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ufm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// One column of the problem: a class of one cluster against the other cluster.
struct Column {
  double own_size;    // k_i
  double other_size;  // k_j
  double theta;       // threshold ratio; the amplitude is active where it is below 1
  bool active;
  double weight;      // c_i = k_i pi_i
  double logit_unit;  // a_i, change of the margin with w_i
  double reach;       // r_i where the gradient points along w_i alone
  double limit;       // r_i stays below this
};

struct Setting {
  Column first;
  Column second;
  double bias_unit;  // a_0, change of the margins with t
  double lambda_z;
  double lambda_b;
};

Setting make_setting(const Problem& problem) {
  const double k1 = problem.multiplicity[0];
  const double k2 = problem.multiplicity[1];
  Setting setting;
  setting.bias_unit = std::sqrt((k1 + k2) / (k1 * k2));
  setting.lambda_z = problem.lambda_z;
  setting.lambda_b = problem.lambda_b;
  for (const Index i : {Index{0}, Index{1}}) {
    Column& column = i == 0 ? setting.first : setting.second;
    column.own_size = problem.multiplicity[i];
    column.other_size = problem.multiplicity[1 - i];
    column.theta = problem.threshold_ratio(i);
    column.active = problem.amplitude_active(i);
    column.weight = problem.multiplicity[i] * problem.loss_weight[i];
    column.logit_unit =
        setting.bias_unit / (std::sqrt(problem.multiplicity[i]) * std::sqrt(problem.count[i]));
    column.reach = problem.lambda_z / (column.weight * column.logit_unit);
    column.limit = column.active ? column.theta : 1.0;
  }
  return setting;
}

struct Margin {
  double value;  // m
  double slope;  // -dm / dlog r
};

// The margin at which the other cluster has probability r, with the amplitude at its optimum.
Margin margin_at(const Column& column, double r) {
  const double k = column.own_size;
  if (!column.active) {
    // All classes of the own cluster are equally likely.
    return {std::log(column.other_size / k * (1.0 - r) / r), 1.0 / (1.0 - r)};
  }
  const double other = (column.theta - r) / k;
  const double own = 1.0 - column.theta + other;
  const double spread = std::log1p((1.0 - column.theta) / other);
  return {std::log(column.other_size * other / r) + spread / k,
          1.0 + r / k * ((1.0 - 1.0 / k) / other + 1.0 / (k * own))};
}

// The inverse: the probability of the other cluster at a margin.
double probability_at(const Column& column, double margin) {
  const double k = column.own_size;
  const double log_others = std::log(column.other_size) - margin;
  double log_own_cluster = std::log(k);
  if (column.active) {
    const double d = solve_spread(log_others, k, column.theta);
    log_own_cluster = d - d / k + std::log1p((k - 1.0) * std::exp(-d));
  }
  return 1.0 / (1.0 + std::exp(log_own_cluster - log_others));
}

// Everything at one direction of the gradient.
struct ArcPoint {
  double cosine;
  double sine;
  double margin_sum;
  double aligned;   // t that makes w parallel to the gradient
  double balance;   // gradient of the loss in t, with its sign changed
  double residual;  // of the equation, and its derivative in q
  double slope;
};

ArcPoint evaluate(const Setting& setting, double q) {
  const Column& first = setting.first;
  const Column& second = setting.second;
  const double tangent = std::exp(q);
  const double cosine = 1.0 / std::sqrt(1.0 + tangent * tangent);
  const double sine = tangent * cosine;
  const double r1 = first.reach * cosine;
  const double r2 = second.reach * sine;
  const Margin m1 = margin_at(first, r1);
  const Margin m2 = margin_at(second, r2);
  const double part1 = sine / first.logit_unit;
  const double part2 = cosine / second.logit_unit;
  const double sine2 = sine * sine;
  const double cosine2 = cosine * cosine;

  ArcPoint point;
  point.cosine = cosine;
  point.sine = sine;
  point.margin_sum = m1.value + m2.value;
  const double denominator = setting.bias_unit * (part1 + part2);
  point.aligned = (m1.value * part1 - m2.value * part2) / denominator;
  const double aligned_slope =
      (part1 * (m1.slope * sine2 + m1.value * cosine2) +
       part2 * (m2.slope * cosine2 + m2.value * sine2) -
       point.aligned * setting.bias_unit * (part1 * cosine2 - part2 * sine2)) /
      denominator;
  const double mass1 = setting.bias_unit * first.weight * r1;
  const double mass2 = setting.bias_unit * second.weight * r2;
  point.balance = mass1 - mass2;
  const double balance_slope = -(mass1 * sine2 + mass2 * cosine2);
  // lambda_b aligned = balance, divided by lambda_b where that is large.
  const double left = std::min(setting.lambda_b, 1.0);
  const double right = setting.lambda_b > 1.0 ? 1.0 / setting.lambda_b : 1.0;
  point.residual = left * point.aligned - right * point.balance;
  point.slope = left * aligned_slope - right * balance_slope;
  return point;
}

// q at which a probability reaches its limit: reach * cos = limit.
double log_tangent_at_limit(const Column& column) {
  const double ratio = column.reach / column.limit;
  return ratio >= 1.0 ? 0.5 * std::log((ratio - 1.0) * (ratio + 1.0)) : -infinity;
}

// Solves the equation by Newton's method within a bracket; empty if it does not converge. With
// only_positive it also gives up where w would point against the gradient, which does not happen at
// a solution and hints at M = 0.
std::optional<ArcPoint> search_arc(const Setting& setting, bool only_positive, int max_iterations,
                                   int& iterations) {
  double low = log_tangent_at_limit(setting.first);
  double high = -log_tangent_at_limit(setting.second);
  if (!(low < high)) {
    return std::nullopt;
  }
  // Exact for lambda_b = 0, and right in the balanced case.
  double q = std::log(setting.second.logit_unit / setting.first.logit_unit);
  if (!(low < q && q < high)) {
    q = std::isinf(low) ? high - 1.0 : std::isinf(high) ? low + 1.0 : 0.5 * (low + high);
  }
  bool last = false;
  double previous = infinity;
  while (iterations < max_iterations) {
    ++iterations;
    const ArcPoint point = evaluate(setting, q);
    const bool positive = point.margin_sum > 0.0;
    if (!std::isfinite(point.residual) || (only_positive && !positive)) {
      return std::nullopt;
    }
    if (last) {
      return positive ? std::optional<ArcPoint>(point) : std::nullopt;
    }
    (point.residual < 0.0 ? low : high) = q;
    double next = q - point.residual / point.slope;
    // The equation may have three nearly straight parts, between whose outer ones Newton's method
    // would swing to and fro.
    const double size = std::abs(point.residual);
    if (!(size <= 0.5 * previous) || !(low <= next && next <= high)) {
      const double reach = 1.0 + std::abs(q);
      next = 0.5 * (std::max(low, q - reach) + std::min(high, q + reach));
    }
    previous = size;
    last = std::abs(next - q) <= 1e-8;
    q = next;
  }
  return std::nullopt;
}

// The scaled bias and the probabilities where M = 0.
struct ZeroPoint {
  double t;
  double r1;
  double r2;
};

std::optional<ZeroPoint> solve_zero(const Setting& setting, int max_iterations, int& iterations) {
  const Column& first = setting.first;
  const Column& second = setting.second;
  // The optimum for lambda_b = 0 where no amplitude is active; the bias penalty shrinks it.
  const double free =
      std::log(first.weight * first.other_size) - std::log(second.weight * second.other_size);
  const double longest = std::max(std::abs(free), 1.0) / setting.bias_unit;
  double low = -infinity;
  double high = infinity;
  double t = 0.0;
  double previous = infinity;
  bool last = false;
  while (iterations < max_iterations) {
    ++iterations;
    const double r1 = probability_at(first, setting.bias_unit * t);
    const double r2 = probability_at(second, -setting.bias_unit * t);
    if (std::isinf(setting.lambda_b) || last) {
      return ZeroPoint{t, r1, r2};
    }
    const double mass1 = setting.bias_unit * first.weight * r1;
    const double mass2 = setting.bias_unit * second.weight * r2;
    const double slope = mass2 - mass1 + setting.lambda_b * t;
    const double curvature = setting.bias_unit * (mass1 / margin_at(first, r1).slope +
                                                  mass2 / margin_at(second, r2).slope) +
                             setting.lambda_b;
    (slope < 0.0 ? low : high) = t;
    double next = t - std::clamp(slope / curvature, -longest, longest);
    if (!(std::abs(slope) <= 0.5 * previous) || !(low <= next && next <= high)) {
      next = 0.5 * (std::max(low, t - longest) + std::min(high, t + longest));
    }
    if (!std::isfinite(next)) {
      return std::nullopt;
    }
    previous = std::abs(slope);
    last = std::abs(next - t) <= 1e-8 * (1.0 + std::abs(t));
    t = next;
  }
  return std::nullopt;
}

// M = 0 is optimal where the gradient of the loss there is no longer than lambda_z, up to rounding.
bool is_optimal(const Setting& setting, const ZeroPoint& zero) {
  const Column& first = setting.first;
  const Column& second = setting.second;
  return std::hypot(first.weight * first.logit_unit * zero.r1,
                    second.weight * second.logit_unit * zero.r2) <=
         setting.lambda_z * (1.0 + 1e-14);
}

Iterate make_iterate(const Setting& setting, double w1, double w2, double t) {
  const double k1 = setting.first.own_size;
  const double k2 = setting.second.own_size;
  const double u1 = std::sqrt(k2 / (k1 + k2));
  const double u2 = -std::sqrt(k1 / (k1 + k2));
  Iterate iterate;
  iterate.point.m.resize(2, 2);
  iterate.point.m << u1 * w1, -u1 * w2, u2 * w1, -u2 * w2;
  iterate.point.bias = (Vector(2) << u1 * t, u2 * t).finished();
  iterate.nuclear_norm = std::hypot(w1, w2);
  return iterate;
}

// The primal point of a solution on the arc. Of the two t, which agree up to rounding, it takes the
// one whose rounding costs less.
Iterate arc_iterate(const Setting& setting, const ArcPoint& point) {
  const double a1 = setting.first.logit_unit;
  const double a2 = setting.second.logit_unit;
  const double norm = point.margin_sum / (a1 * point.cosine + a2 * point.sine);
  double w1 = norm * point.cosine;
  double w2 = norm * point.sine;
  double t = point.aligned;
  const double turn = setting.bias_unit * (point.sine / a1 + point.cosine / a2);
  if (setting.lambda_b > setting.lambda_z * turn * turn / norm) {
    t = point.balance / setting.lambda_b;
    const double shift = setting.bias_unit * (point.aligned - t);
    w1 += shift / a1;
    w2 -= shift / a2;
  }
  return make_iterate(setting, w1, w2, t);
}

}  // namespace

std::optional<Iterate> solve_two_clusters(const Problem& problem, int max_iterations) {
  const Setting setting = make_setting(problem);
  int iterations = 0;
  std::optional<Iterate> iterate;
  std::optional<ArcPoint> point = search_arc(setting, true, max_iterations, iterations);
  if (!point) {
    const std::optional<ZeroPoint> zero = solve_zero(setting, max_iterations, iterations);
    if (zero && is_optimal(setting, *zero)) {
      iterate = make_iterate(setting, 0.0, 0.0, zero->t);
    } else {
      point = search_arc(setting, false, max_iterations, iterations);
    }
  }
  if (point) {
    iterate = arc_iterate(setting, *point);
  }
  if (iterate) {
    iterate->iterations = iterations;
  }
  return iterate;
}

}  // namespace ufm
