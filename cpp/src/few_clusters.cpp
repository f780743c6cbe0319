// Newton's method on M = U V^T with penalty (lambda_z / 2) (||U||^2 + ||V||^2), as in factored.cpp,
// for a size known to the compiler: at three clusters the arithmetic of a solve takes less time
// than the memory, loops and calls around it.
//
// Only what goes well is done here. Steps that do not lower the objective, directions of negative
// curvature and numbers out of range all end in an empty answer.
#include "ufm/few_clusters.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>

namespace ufm {
namespace {

constexpr double forcing = 0.1;            // relative residual at which conjugate gradients end
constexpr double clearly_positive = 1e-6;  // squared singular value, relative to the largest
constexpr int max_steps = 30;
constexpr int max_products = 100;  // in one step

template <int C>
class FewClusters {
 public:
  explicit FewClusters(const BlockLoss& loss) : lambda_z_(loss.problem().lambda_z) {
    const Problem& problem = loss.problem();
    has_bias_ = problem.has_bias();
    lambda_b_ = has_bias_ ? problem.lambda_b : 0.0;
    flat_ = problem.multiplicity.cwiseSqrt().normalized();
    for (int i = 0; i < C; ++i) {
      const double k = problem.multiplicity[i];
      Cluster& cluster = clusters_[i];
      cluster.size = k;
      cluster.kappa = 1.0 - 1.0 / k;
      cluster.active = problem.amplitude_active(i);
      cluster.theta = problem.threshold_ratio(i);
      cluster.spread = SpreadEquation(k, cluster.active ? cluster.theta : 1.0);
      cluster.weight = k * problem.loss_weight[i];
      cluster.amplitude_cost = problem.lambda_z * (k - 1.0) * std::sqrt(problem.count[i]);
      row_scale_[i] = 1.0 / std::sqrt(k);
      column_scale_[i] = 1.0 / std::sqrt(k * problem.count[i]);
    }
    num_classes_ = problem.num_classes();
  }

  std::optional<Iterate> run(Monitor& monitor) {
    start();
    double value = evaluate(point_, state_);
    if (!std::isfinite(value)) {
      return std::nullopt;
    }
    for (int step = 1; step <= max_steps; ++step) {
      if (monitor.poll() != StopReason::none) {
        return std::nullopt;
      }
      linearise();
      const std::optional<double> decrease = find_direction();
      if (!decrease) {
        return std::nullopt;
      }
      const std::optional<double> next = move(value, *decrease);
      if (!next) {
        return std::nullopt;
      }
      value = *next;
      iterations_ = step;
      if (*decrease <= 1e-14 * std::abs(value)) {
        return result();
      }
    }
    return std::nullopt;
  }

 private:
  using Square = Eigen::Matrix<double, C, C>;
  using Row = Eigen::Matrix<double, C, 1>;

  struct Cluster {
    double size = 1.0;   // k
    double kappa = 0.0;  // 1 - 1 / k
    double theta = 1.0;  // threshold ratio
    bool active = false;
    SpreadEquation spread;
    double weight = 0.0;          // k pi
    double amplitude_cost = 0.0;  // lambda_z (k - 1) alpha / d
  };

  // U, V and the scaled bias; points and directions alike.
  struct Parts {
    Square left = Square::Zero();
    Square right = Square::Zero();
    Row bias = Row::Zero();

    double dot(const Parts& other) const {
      return left.cwiseProduct(other.left).sum() + right.cwiseProduct(other.right).sum() +
             bias.dot(other.bias);
    }
    void add(double factor, const Parts& other) {
      left += factor * other.left;
      right += factor * other.right;
      bias += factor * other.bias;
    }
  };

  // See LossState.
  struct State {
    Square mass;
    Row own_other = Row::Ones();
    Row rest = Row::Zero();
    Row p_own;
    Row spread = Row::Zero();
    Row log_others = Row::Zero();  // see SpreadEquation
  };

  // As balanced_factors in start.cpp: the solution that each class would have if all classes had
  // its threshold ratio.
  void start() {
    for (int i = 0; i < C; ++i) {
      const Cluster& cluster = clusters_[i];
      const double theta = cluster.theta;
      const double balanced = theta < 1.0 ? std::log1p(num_classes_ * (1.0 / theta - 1.0)) : 0.0;
      const double root_count = row_scale_[i] / column_scale_[i];
      const double root = std::sqrt(std::max(balanced, 0.01) * root_count);
      point_.right(i, i) = root;
      point_.left(i, i) = root;
      point_.left.col(i) -= flat_ * (flat_[i] * root);
    }
  }

  // Objective at a point; infinite or not a number where it does not fit double precision.
  double evaluate(const Parts& at, State& state) const {
    const Square m = at.left * at.right.transpose();
    double value = 0.5 * lambda_z_ * (at.left.squaredNorm() + at.right.squaredNorm()) +
                   0.5 * lambda_b_ * at.bias.squaredNorm();
    for (int i = 0; i < C; ++i) {
      value += evaluate_column(i, m, at.bias, state);
    }
    return value;
  }

  // See BlockLoss::evaluate_column.
  double evaluate_column(int i, const Square& m, const Row& bias, State& state) const {
    const Cluster& cluster = clusters_[i];
    const Row logits = row_scale_.cwiseProduct(m.col(i) * column_scale_[i] + bias);
    double sum = 0.0;
    for (int j = 0; j < C; ++j) {
      const double odds = j == i ? 0.0 : clusters_[j].size * std::exp(logits[j] - logits[i]);
      state.mass(j, i) = odds;
      sum += odds;
    }
    double d = 0.0;
    double mates = cluster.size - 1.0;
    double shrink = 1.0;
    if (cluster.active) {
      const double log_others = std::log(sum);
      d = cluster.spread.solve(log_others, spread_guess(i, log_others));
      state.log_others[i] = log_others;
      mates *= std::exp(-d);
      shrink = std::exp(-d * cluster.kappa);
    }
    const double wrong = mates + shrink * sum;
    const double own = 1.0 / (1.0 + wrong);
    state.spread[i] = d;
    state.p_own[i] = own;
    state.own_other[i] = mates * own;
    state.rest[i] = shrink * sum * own;
    state.mass.col(i) *= shrink * own;
    return cluster.weight * std::log1p(wrong) + cluster.amplitude_cost * d;
  }

  // To first order in the change since the last point.
  double spread_guess(int i, double log_others) const {
    const double k = clusters_[i].size;
    const double share = state_.rest[i] / (state_.rest[i] + state_.own_other[i] * k / (k - 1.0));
    return state_.spread[i] + share / (1.0 - share / k) * (log_others - state_.log_others[i]);
  }

  // Gradient, and what products with the Hessian and the preconditioner need.
  void linearise() {
    gradient_m_ = state_.mass;
    Row bias = Row::Zero();
    Square diagonal;
    for (int i = 0; i < C; ++i) {
      const Cluster& cluster = clusters_[i];
      gradient_m_(i, i) = -state_.rest[i];
      bias += cluster.weight * gradient_m_.col(i);
      const double factor = cluster.weight * column_scale_[i];
      gradient_m_.col(i) = factor * row_scale_.cwiseProduct(gradient_m_.col(i));
      Row p = state_.mass.col(i);
      p[i] = state_.rest[i];
      diagonal.col(i) = (p.array() * (1.0 - p.array())).matrix();
    }
    Row bias_diagonal = Row::Zero();
    for (int i = 0; i < C; ++i) {
      bias_diagonal += clusters_[i].weight * diagonal.col(i);
      diagonal.col(i) = clusters_[i].weight * column_scale_[i] * column_scale_[i] *
                        row_scale_.cwiseAbs2().cwiseProduct(diagonal.col(i));
    }
    gradient_.left = lambda_z_ * point_.left + gradient_m_ * point_.right;
    gradient_.right = lambda_z_ * point_.right + gradient_m_.transpose() * point_.left;
    gradient_.bias.setZero();
    if (has_bias_) {
      gradient_.bias = row_scale_.cwiseProduct(bias) + lambda_b_ * point_.bias;
      bias_diagonal = row_scale_.cwiseAbs2().cwiseProduct(bias_diagonal);
      bias_diagonal.array() += lambda_b_;
      bias_diagonal.array() += 1e-12 * bias_diagonal.maxCoeff() + 1e-300;
      inverse_bias_ = bias_diagonal.cwiseInverse();
    }
    prepare_preconditioner(diagonal);
    prepare_amplitudes();
  }

  // 2 x 2 blocks, see FactoredModel::prepare_preconditioner.
  void prepare_preconditioner(const Square& diagonal) {
    constexpr double below_singular = 0.9;
    const Square left = (diagonal * point_.right.cwiseAbs2()).array() + lambda_z_;
    const Square right = (diagonal.transpose() * point_.left.cwiseAbs2()).array() + lambda_z_;
    const Row coupling =
        below_singular * gradient_m_.diagonal().cwiseMax(-lambda_z_).cwiseMin(lambda_z_);
    for (int i = 0; i < C; ++i) {
      for (int l = 0; l < C; ++l) {
        const double inverse = 1.0 / (left(i, l) * right(i, l) - coupling[i] * coupling[i]);
        inverse_left_(i, l) = right(i, l) * inverse;
        inverse_right_(i, l) = left(i, l) * inverse;
        inverse_coupling_(i, l) = -coupling[i] * inverse;
      }
    }
  }

  // How the amplitudes follow a change of the logits: d_spread = follow * z_sum.
  void prepare_amplitudes() {
    for (int i = 0; i < C; ++i) {
      const Cluster& cluster = clusters_[i];
      const double own = state_.p_own[i];
      const double other = state_.own_other[i];
      const double rest = state_.rest[i];
      const double kappa = cluster.kappa;
      const double share = 1.0 - kappa;
      const double variance = own * (kappa * kappa * rest + other) + rest * other * share * share;
      const double follow =
          cluster.active && variance > 0.0 ? (kappa * own - share * other) / variance : 0.0;
      shift_[i] = 1.0 + follow * (kappa - kappa * rest - other);
    }
  }

  void hessian_product(const Parts& direction, Parts& product) const {
    Square change = direction.left * point_.right.transpose();
    change += point_.left * direction.right.transpose();
    Square curved;
    Row bias = Row::Zero();
    for (int i = 0; i < C; ++i) {
      Row z = row_scale_.cwiseProduct(change.col(i) * column_scale_[i] + direction.bias);
      z.array() -= z[i];
      const double sum = state_.mass.col(i).dot(z);
      const double shift = shift_[i] * sum;
      Row out = state_.mass.col(i).cwiseProduct((z.array() - shift).matrix());
      out[i] = -(sum - shift * state_.rest[i]);
      const double weight = clusters_[i].weight;
      bias += weight * out;
      curved.col(i) = weight * column_scale_[i] * row_scale_.cwiseProduct(out);
    }
    product.left = lambda_z_ * direction.left + curved * point_.right;
    product.left += gradient_m_ * direction.right;
    product.right = lambda_z_ * direction.right + curved.transpose() * point_.left;
    product.right += gradient_m_.transpose() * direction.left;
    if (has_bias_) {
      product.bias = row_scale_.cwiseProduct(bias) + lambda_b_ * direction.bias;
    }
  }

  void precondition(const Parts& r, Parts& y) const {
    y.left = inverse_left_.cwiseProduct(r.left) + inverse_coupling_.cwiseProduct(r.right);
    y.right = inverse_right_.cwiseProduct(r.right) + inverse_coupling_.cwiseProduct(r.left);
    if (has_bias_) {
      y.bias = r.bias.cwiseProduct(inverse_bias_);
      y.bias -= flat_.dot(y.bias) * flat_;
    }
  }

  // Conjugate gradients; the decrease that the quadratic model predicts.
  std::optional<double> find_direction() {
    direction_ = Parts();
    Parts r = gradient_;
    Parts y;
    precondition(r, y);
    Parts p;
    p.add(-1.0, y);
    Parts hp;
    double ry = r.dot(y);
    const double target = ry * forcing * forcing;
    for (int k = 0; k < max_products && ry > target; ++k) {
      hessian_product(p, hp);
      ++products_;
      const double curvature = p.dot(hp);
      if (!(curvature > 0.0)) {
        if (k == 0) {
          return std::nullopt;
        }
        break;  // see trust_region.cpp
      }
      const double alpha = ry / curvature;
      direction_.add(alpha, p);
      r.add(alpha, hp);
      precondition(r, y);
      const double next = r.dot(y);
      const double beta = next / ry;
      p.left = beta * p.left - y.left;
      p.right = beta * p.right - y.right;
      p.bias = beta * p.bias - y.bias;
      ry = next;
    }
    r.add(1.0, gradient_);
    const double decrease = -0.5 * direction_.dot(r);
    return decrease >= 0.0 ? std::optional<double>(decrease) : std::nullopt;
  }

  // Goes along the direction, or half, or a quarter of it; the objective there.
  std::optional<double> move(double value, double decrease) {
    const double noise = 1e-13 * std::abs(value);
    double length = 1.0;
    for (int attempt = 0; attempt < 3; ++attempt) {
      Parts trial = point_;
      trial.add(length, direction_);
      State state;
      const double next = evaluate(trial, state);
      const bool below_noise = decrease < noise && std::abs(next - value) < 10.0 * noise;
      if (below_noise || value - next >= 0.1 * length * decrease) {
        point_ = trial;
        state_ = state;
        return next;
      }
      length *= 0.5;
    }
    return std::nullopt;
  }

  Iterate result() const {
    Iterate iterate;
    Square m = point_.left * point_.right.transpose();
    m -= flat_ * (flat_.transpose() * m);
    iterate.point.m = m;
    iterate.point.bias = point_.bias - flat_ * flat_.dot(point_.bias);
    iterate.iterations = iterations_;
    iterate.inner_iterations = products_;
    // Squares of the singular values, rising; the first is zero.
    const Square gram = m * m.transpose();
    const Eigen::SelfAdjointEigenSolver<Square> eigen(gram, Eigen::EigenvaluesOnly);
    const Row squares = eigen.eigenvalues().cwiseMax(0.0);
    // Beside all of them, and the amplitudes: where M itself vanishes only these are left.
    const double largest = std::max(squares[C - 1], largest_squared_amplitude());
    iterate.no_direction_vanishes = squares[1] > clearly_positive * largest;
    if (iterate.no_direction_vanishes) {
      iterate.nuclear_norm = squares.tail(C - 1).cwiseSqrt().sum();
    } else {
      iterate.left = point_.left;
      iterate.right = point_.right;
      iterate.nuclear_norm = 0.5 * (point_.left.squaredNorm() + point_.right.squaredNorm());
    }
    return iterate;
  }

  double largest_squared_amplitude() const {
    // alpha = d sqrt(n)
    const Row root_count = row_scale_.cwiseQuotient(column_scale_);
    return state_.spread.cwiseProduct(root_count).cwiseAbs2().maxCoeff();
  }

  double lambda_z_;
  double lambda_b_ = 0.0;
  bool has_bias_ = false;
  double num_classes_ = 0.0;
  Cluster clusters_[C];
  Row flat_;
  Row row_scale_;
  Row column_scale_;
  Parts point_;
  State state_;
  Parts gradient_;
  Parts direction_;
  Square gradient_m_;
  Row shift_;
  Square inverse_left_;
  Square inverse_right_;
  Square inverse_coupling_;
  Row inverse_bias_ = Row::Zero();
  int iterations_ = 0;
  int products_ = 0;
};

}  // namespace

std::optional<Iterate> solve_few_clusters(const BlockLoss& loss, Monitor& monitor) {
  if (loss.problem().size() == 3) {
    return FewClusters<3>(loss).run(monitor);
  }
  return FewClusters<4>(loss).run(monitor);
}

}  // namespace ufm
