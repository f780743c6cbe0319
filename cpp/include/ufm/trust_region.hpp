// Minimisation of a smooth function by a trust-region Newton method whose steps come from
// preconditioned conjugate gradients (Steihaug-Toint). Works on non-convex functions too.
#pragma once

#include "ufm/monitor.hpp"
#include "ufm/types.hpp"

namespace ufm {

class SmoothModel {
 public:
  virtual ~SmoothModel() = default;

  // Value at a trial point; the point's state is kept until the next trial.
  virtual double trial_value(const Vector& x) = 0;
  // Makes the last trial the current point.
  virtual void accept_trial() = 0;
  // Gradient, Hessian products and preconditioner at the current point.
  virtual void gradient(Vector& g) = 0;
  virtual void hessian_product(const Vector& direction, Vector& product) = 0;
  // Prepares a positive definite approximation P of the Hessian at the current point, and
  // applies it: y = P^-1 r and x^T P x.
  virtual void prepare_preconditioner() = 0;
  virtual void precondition(const Vector& r, Vector& y) const = 0;
  virtual double squared_norm(const Vector& x) const = 0;
  // Called after each accepted step with the model's predicted decrease of that step; return true
  // to end the minimisation.
  virtual bool finished(int iteration, double value, double predicted_decrease) = 0;
};

struct TrustRegionOptions {
  int max_iterations = 500;         // Newton steps
  int max_inner_iterations = 500;   // conjugate-gradient steps within one Newton step
  double gradient_tolerance = 0.0;  // on the gradient in the inverse preconditioner's norm
};

enum class TrustRegionEnd { finished, stationary, iteration_limit, stalled, not_finite };

struct TrustRegionResult {
  TrustRegionEnd end = TrustRegionEnd::iteration_limit;
  int iterations = 0;
  int hessian_products = 0;
  double value = 0.0;
};

// Minimises the model from x, which receives the last accepted point (also when the monitor
// requests a stop, which leaves as an exception).
TrustRegionResult trust_region(SmoothModel& model, Vector& x, const TrustRegionOptions& options,
                               Monitor& monitor);

}  // namespace ufm
