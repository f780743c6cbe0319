#include "ufm/bias.hpp"

#include <utility>

#include "ufm/trust_region.hpp"

namespace ufm {
namespace {

class BiasModel final : public SmoothModel {
 public:
  BiasModel(const BlockLoss& loss, const Matrix& m, double accuracy)
      : loss_(loss), m_(m), zero_(Matrix::Zero(m.rows(), m.cols())), accuracy_(accuracy) {}

  double trial_value(const Vector& x) override {
    trial_x_ = x;
    loss_.evaluate(m_, x, trial_);
    return trial_.value + 0.5 * lambda_b() * x.squaredNorm();
  }

  void accept_trial() override {
    std::swap(trial_, current_);
    std::swap(trial_x_, x_);
  }

  void gradient(Vector& g) override {
    loss_.gradient(current_, scratch_, g);
    g += lambda_b() * x_;
  }

  void hessian_product(const Vector& direction, Vector& product) override {
    loss_.hessian_product(current_, zero_, direction, scratch_, product);
    product += lambda_b() * direction;
  }

  void prepare_preconditioner() override {
    loss_.hessian_diagonal(current_, scratch_, diagonal_);
    diagonal_.array() += lambda_b() + 1e-12 * (diagonal_.maxCoeff() + lambda_b()) + 1e-300;
  }

  void precondition(const Vector& r, Vector& y) const override { y = r.cwiseQuotient(diagonal_); }

  double squared_norm(const Vector& x) const override { return x.cwiseAbs2().dot(diagonal_); }

  bool finished(int /*iteration*/, double value, double predicted_decrease) override {
    return predicted_decrease <= accuracy_ * value;
  }

  LossState& state() { return current_; }

 private:
  double lambda_b() const { return loss_.problem().lambda_b; }

  const BlockLoss& loss_;
  const Matrix& m_;
  Matrix zero_;
  double accuracy_;
  LossState trial_;
  LossState current_;
  Vector trial_x_;
  Vector x_;
  Matrix scratch_;
  Vector diagonal_;
};

}  // namespace

void minimise_bias(const BlockLoss& loss, const Matrix& m, Vector& bias, LossState& state,
                   Monitor& monitor, double relative_accuracy) {
  if (!loss.problem().has_bias()) {
    loss.evaluate(m, bias, state);
    return;
  }
  BiasModel model(loss, m, relative_accuracy);
  TrustRegionOptions options;
  options.max_iterations = 60;
  trust_region(model, bias, options, monitor);
  state = std::move(model.state());
}

}  // namespace ufm
