#include "ufm/bias.hpp"

#include <limits>
#include <utility>

#include "ufm/trust_region.hpp"

namespace ufm {

BiasPenalty::BiasPenalty(const Problem& problem)
    : lambda_b_(problem.lambda_b), flat_direction_(problem.flat_direction()) {}

double BiasPenalty::value(const Vector& bias) const { return 0.5 * lambda_b_ * bias.squaredNorm(); }

void BiasPenalty::add_gradient(const Vector& bias, Vector& gradient) const {
  gradient += lambda_b_ * bias;
}

void BiasPenalty::add_diagonal(Vector& diagonal) const {
  diagonal.array() += lambda_b_;
  diagonal.array() += 1e-12 * diagonal.maxCoeff() + 1e-300;
}

void BiasPenalty::centre(Eigen::Ref<Vector> bias) const {
  bias -= flat_direction_.dot(bias) * flat_direction_;
}

namespace {

class BiasModel final : public SmoothModel {
 public:
  BiasModel(const BlockLoss& loss, const Matrix& m, double accuracy)
      : loss_(loss),
        m_(m),
        penalty_(loss.problem()),
        zero_(Matrix::Zero(m.rows(), m.cols())),
        accuracy_(accuracy) {}

  double trial_value(const Vector& x) override {
    trial_x_ = x;
    loss_.evaluate(m_, x, trial_);
    return trial_.value + penalty_.value(x);
  }

  void accept_trial() override {
    std::swap(trial_, current_);
    std::swap(trial_x_, x_);
  }

  void gradient(Vector& g) override {
    loss_.gradient(current_, scratch_, g);
    penalty_.add_gradient(x_, g);
  }

  void hessian_product(const Vector& direction, Vector& product) override {
    loss_.hessian_product(current_, zero_, direction, scratch_, product);
    penalty_.add_gradient(direction, product);
  }

  void prepare_preconditioner() override {
    loss_.hessian_diagonal(current_, scratch_, diagonal_);
    penalty_.add_diagonal(diagonal_);
  }

  void precondition(const Vector& r, Vector& y) const override {
    y = r.cwiseQuotient(diagonal_);
    penalty_.centre(y);
  }

  double squared_norm(const Vector& x) const override { return x.cwiseAbs2().dot(diagonal_); }

  bool finished(int /*iteration*/, double value, double predicted_decrease) override {
    // Newton's method squares the error at each step; once it no longer does, rounding rules.
    const bool at_rounding =
        predicted_decrease <= 1e-20 * value && predicted_decrease > 0.01 * last_decrease_;
    last_decrease_ = predicted_decrease;
    return predicted_decrease <= accuracy_ * value || at_rounding;
  }

  LossState& state() { return current_; }

 private:
  const BlockLoss& loss_;
  const Matrix& m_;
  BiasPenalty penalty_;
  Matrix zero_;
  double accuracy_;
  double last_decrease_ = std::numeric_limits<double>::infinity();
  LossState trial_;
  LossState current_;
  Vector trial_x_;
  Vector x_;
  Matrix scratch_;
  Vector diagonal_;
};

// Large offsets leave a bias of zero where the loss is flat to rounding. The bias that cancels them
// is taken instead where that is the better start.
Vector better_start(BiasModel& model, const Problem& problem, const Vector& bias) {
  const Vector offset = problem.all_offsets();
  if ((offset.array() == offset[0]).all()) {
    return bias;
  }
  Vector cancelling =
      -offset.cwiseProduct(problem.multiplicity.cwiseSqrt()).cwiseQuotient(problem.all_scales());
  BiasPenalty(problem).centre(cancelling);
  return model.trial_value(cancelling) < model.trial_value(bias) ? cancelling : bias;
}

}  // namespace

void minimise_bias(const BlockLoss& loss, const Matrix& m, Vector& bias, LossState& state,
                   Monitor& monitor, double relative_accuracy) {
  if (!loss.problem().has_bias()) {
    loss.evaluate(m, bias, state);
    return;
  }
  BiasModel model(loss, m, relative_accuracy);
  bias = better_start(model, loss.problem(), bias);
  TrustRegionOptions options;
  options.max_iterations = 60;
  trust_region(model, bias, options, monitor);
  BiasPenalty(loss.problem()).centre(bias);
  state = std::move(model.state());
}

}  // namespace ufm
