// Cross-entropy of a cluster-structured mean prediction matrix, with the within-cluster amplitudes
// eliminated exactly.
//
// In cluster form the unknowns are M (C x C), the scaled bias bt_j = sqrt(k_j) b_j and one
// amplitude alpha_i >= 0 per cluster. The logit of a class of cluster j in a column of cluster
// i != j is
//     L_ji = s_j (M_ji / sqrt(k_j k_i n_i) + b_j) + o_j,
// and inside the own cluster, with d_i = s_i alpha_i / sqrt(n_i),
//     L_ii - d_i / k_i (another class) and L_ii - d_i / k_i + d_i (the class itself).
// Given M and b, d_i solves a one-dimensional monotone equation, so that
//     F(M, b) = loss + lambda_z sum_i (k_i - 1) alpha_i
// is a smooth convex function of M and b alone.
#pragma once

#include "ufm/problem.hpp"
#include "ufm/types.hpp"

namespace ufm {

// Everything a gradient, a Hessian product or a certificate needs about one point (M, b).
// Probabilities of wrong classes and own-class deficits are kept apart, never as 1 - p, so that
// they stay accurate when they are tiny.
struct LossState {
  Matrix mass;       // mass_ji = k_j p_ji, the probability of cluster j != i; zero diagonal
  Vector own_other;  // probability of the other classes of the own cluster
  Vector rest;       // probability of all other clusters: the column sum of mass
  Vector p_own;
  Vector log_own;               // -log p_own
  Vector mean_log;              // sum over wrong classes of p log(p / p_own)
  Vector spread;                // d_i >= 0
  double value = 0.0;           // F(M, b)
  double amplitude_norm = 0.0;  // sum_i (k_i - 1) alpha_i

  double deficit(Index i) const { return rest[i] + own_other[i]; }  // 1 - p_own

  // alpha_i = d_i sqrt(n_i) / s_i, in place of the spread, which is empty afterwards.
  Vector take_amplitudes(const Problem& problem);
  // Forgets all but the spread and the sums.
  void drop_columns();
};

// One column's share of a LossState.
struct ColumnState {
  double own_other;
  double rest;
  double p_own;
  double log_own;
  double mean_log;
  double spread;
  double loss;
};

// The classes of all other clusters in a column, by their logits x_j relative to the mean logit of
// the own cluster: e_j = k_j exp(x_j - top).
struct OtherClasses {
  double top = 0.0;
  double sum = 0.0;       // sum of e_j
  double weighted = 0.0;  // sum of e_j x_j
};

class BlockLoss {
 public:
  // The problem must outlive the loss.
  explicit BlockLoss(const Problem& problem);
  explicit BlockLoss(Problem&& problem) = delete;

  const Problem& problem() const { return problem_; }

  // Evaluates F at (m, scaled_bias).
  void evaluate(const Matrix& m, const Vector& scaled_bias, LossState& state) const;

  // Evaluates column i of M alone and writes its mass, for matrices that are never held whole.
  ColumnState evaluate_column(Index i, const double* m_column, const Vector& scaled_bias,
                              double* mass, double spread_guess = 0.0) const;

  // The same for plain labels from sums over the other clusters. to_mass takes e_j to mass_j.
  ColumnState column_of(Index i, const OtherClasses& others, double spread_guess,
                        double& to_mass) const;

  // Prepares a state whose columns are then filled one by one; the mass is not held.
  void begin(LossState& state) const;
  void add_column(Index i, const ColumnState& column, LossState& state) const;

  // Gradient of F in M and in the scaled bias (without the bias penalty).
  void gradient(const LossState& state, Matrix& grad_m, Vector& grad_bias) const;

  // Product of the Hessian of F with the direction (dm, dbias).
  void hessian_product(const LossState& state, const Matrix& dm, const Vector& dbias,
                       Matrix& product_m, Vector& product_bias) const;

  // Diagonal of the Hessian of F, up to the small effect of the amplitudes.
  void hessian_diagonal(const LossState& state, Matrix& diagonal_m, Vector& diagonal_bias) const;

  // Per cluster, the singular value of the gradient on differences of its classes.
  Vector amplitude_gradient(const LossState& state) const;

 private:
  double smoothing_term(Index i, const double* m_column, const Vector& scaled_bias,
                        double own_logit, double spread) const;

  const Problem& problem_;
  double num_classes_;
  Vector offset_;          // o_j, written out
  Vector row_scale_;       // s_j / sqrt(k_j)
  Vector column_scale_;    // 1 / sqrt(k_i n_i)
  Vector cluster_weight_;  // k_i pi_i
};

// The equation for the spread d >= 0 of a cluster with multiplicity k and threshold ratio theta in
// (0, 1), given log_others = log sum_{j != i} k_j exp(L_ji - L_ii). A guess near by saves
// iterations.
class SpreadEquation {
 public:
  SpreadEquation() = default;
  SpreadEquation(double multiplicity, double theta);
  double solve(double log_others, double guess = 0.0) const;

 private:
  double multiplicity_ = 1.0;
  double constant_ = 0.0;  // the spread where there are no others
  double log_gain_ = 0.0;
};

inline double solve_spread(double log_others, double multiplicity, double theta,
                           double guess = 0.0) {
  return SpreadEquation(multiplicity, theta).solve(log_others, guess);
}

}  // namespace ufm
