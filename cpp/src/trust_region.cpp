#include "ufm/trust_region.hpp"

#include <algorithm>
#include <cmath>

namespace ufm {
namespace {

// Residual of the Newton equation, relative to the gradient, at which the inner iteration ends.
// Measured on 100 to 1000 clusters: tighter with falling gradients, for the sake of a faster local
// convergence, takes half as many products again, because the last steps then go far beyond tol.
constexpr double forcing = 0.15;

struct Step {
  Vector direction;
  double predicted_decrease = 0.0;
  double norm = 0.0;  // in the preconditioner's norm
  bool on_boundary = false;
  int products = 0;
};

// Positive tau with ||s + tau p|| = radius, from the squared norms and the inner product.
double to_boundary(double ss, double sp, double pp, double radius) {
  const double missing = std::max(radius * radius - ss, 0.0);
  const double root = std::sqrt(sp * sp + pp * missing);
  return sp > 0.0 ? missing / (sp + root) : (root - sp) / pp;
}

Step conjugate_gradients(SmoothModel& model, const Vector& g, double radius, double tolerance,
                         int limit, Monitor& monitor) {
  Step step;
  Vector s = Vector::Zero(g.size());
  Vector r = g;  // g + H s
  Vector y(g.size());
  model.precondition(r, y);
  Vector p = -y;
  Vector hp(g.size());
  double ry = r.dot(y);
  const double target = ry * tolerance * tolerance;
  double ss = 0.0;
  double sp = 0.0;
  double pp = ry;
  for (int k = 0; k < limit && ry > target && ry > 0.0; ++k) {
    monitor.check();
    model.hessian_product(p, hp);
    ++step.products;
    const double curvature = p.dot(hp);
    if (!(curvature > 0.0) && k > 0) {
      // The step so far is good. What is left are directions of slightly negative curvature, such
      // as the symmetries of a factored form away from its minimum; following one to the boundary
      // would ruin the step.
      break;
    }
    const double alpha = ry / curvature;
    const double reached = ss + 2.0 * alpha * sp + alpha * alpha * pp;
    // Also true when the curvature is not positive or not a number.
    if (!(curvature > 0.0) || !(reached < radius * radius)) {
      const double tau = to_boundary(ss, sp, pp, radius);
      s += tau * p;
      r += tau * hp;
      ss = radius * radius;
      step.on_boundary = true;
      break;
    }
    s += alpha * p;
    r += alpha * hp;
    model.precondition(r, y);
    const double ry_next = r.dot(y);
    const double beta = ry_next / ry;
    ss = reached;
    sp = beta * (sp + alpha * pp);
    pp = ry_next + beta * beta * pp;
    p = beta * p - y;
    ry = ry_next;
  }
  step.predicted_decrease = -0.5 * s.dot(g + r);
  step.norm = std::sqrt(ss);
  step.direction = std::move(s);
  return step;
}

}  // namespace

TrustRegionResult trust_region(SmoothModel& model, Vector& x, const TrustRegionOptions& options,
                               Monitor& monitor) {
  TrustRegionResult result;
  double value = model.trial_value(x);
  model.accept_trial();
  result.value = value;
  if (!std::isfinite(value)) {
    result.end = TrustRegionEnd::not_finite;
    return result;
  }
  if (x.size() == 0) {
    model.finished(0, value, 0.0);
    result.end = TrustRegionEnd::stationary;
    return result;
  }
  Vector g;
  Vector scratch(x.size());
  const auto dual_norm = [&model, &g, &scratch] {
    model.precondition(g, scratch);
    return std::sqrt(g.dot(scratch));
  };
  model.gradient(g);
  model.prepare_preconditioner();
  double radius = std::max(1.0, std::sqrt(model.squared_norm(x)));
  int rejected = 0;
  while (result.iterations < options.max_iterations) {
    const double norm = dual_norm();
    if (!(norm > options.gradient_tolerance)) {
      result.end = TrustRegionEnd::stationary;
      return result;
    }
    const Step step =
        conjugate_gradients(model, g, radius, forcing, options.max_inner_iterations, monitor);
    result.hessian_products += step.products;
    ++result.iterations;
    const Vector candidate = x + step.direction;
    const double trial = model.trial_value(candidate);
    const double actual = value - trial;
    // Differences below rounding carry no information; the gradient still does.
    const double noise = 1e-13 * std::abs(value);
    const bool below_noise = step.predicted_decrease < noise && std::abs(actual) < 10.0 * noise;
    const double ratio =
        below_noise ? 1.0 : (std::isfinite(trial) ? actual / step.predicted_decrease : -1.0);
    if (!(ratio > 0.25)) {
      radius = 0.25 * std::min(step.norm, radius);
    } else if (ratio > 0.75 && step.on_boundary) {
      radius *= 3.0;
    }
    if (!(ratio > 1e-4)) {
      if (++rejected > 60 || !(radius > 0.0)) {
        result.end = TrustRegionEnd::stalled;
        return result;
      }
      continue;
    }
    rejected = 0;
    x = candidate;
    value = trial;
    result.value = value;
    model.accept_trial();
    if (model.finished(result.iterations, value, step.predicted_decrease)) {
      result.end = TrustRegionEnd::finished;
      return result;
    }
    model.gradient(g);
    model.prepare_preconditioner();
  }
  return result;
}

}  // namespace ufm
