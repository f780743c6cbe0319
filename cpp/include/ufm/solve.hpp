// The solvers' common face: a reduced problem in, a certified reduced solution out.
#pragma once

#include <string>

#include "ufm/certificate.hpp"
#include "ufm/monitor.hpp"
#include "ufm/problem.hpp"

namespace ufm {

// Up to this many clusters a singular value decomposition costs next to nothing, and solutions are
// cleaned up so that singular values that should be zero are exactly zero.
constexpr Index small_problem = 64;

enum class Method { automatic, proximal, factored };

enum class Status {
  converged,        // the relative duality gap is at most the tolerance
  max_iterations,   // the iteration limit came first
  time_limit,       // the time limit came first
  interrupted,      // stopped from outside
  numerical_error,  // no further progress was possible in double precision
};

struct SolveOptions {
  double tol = 1e-6;
  Method method = Method::automatic;
  int max_iterations = 0;  // 0: the method's default
};

struct ReducedSolution {
  Point point;
  Vector amplitudes;          // alpha_i, within-cluster singular values of X
  Vector own_logit;           // bias-free logit of a class for itself, per cluster
  double nuclear_norm = 0.0;  // of X, within-cluster part included
  Certificate certificate;
  Status status = Status::numerical_error;
  int iterations = 0;
  int inner_iterations = 0;  // Hessian products, where the method has an inner loop
  std::string method;
};

ReducedSolution solve(const Problem& problem, const SolveOptions& options, Monitor& monitor);

// What a method hands back before it is certified.
struct Iterate {
  Point point;
  double nuclear_norm = 0.0;  // upper bound of ||M||_*
  int iterations = 0;
  int inner_iterations = 0;
  Status reason = Status::numerical_error;  // why it stopped, if it did not converge
};

// The status a stop request leads to; throws the request on when it asks to abandon.
Status status_of(const StopRequest& request);

Iterate solve_factored(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor);
Iterate solve_proximal(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor);

// Rank of M at the optimum, told from a solution: the singular values that survive one proximal
// step, which sends those that are only nearly zero to zero.
Index between_rank(const Problem& problem, const Point& point);

// Start of the iterative methods: the balanced closed form, class by class, as M = left right^T.
struct FactoredStart {
  Matrix left;
  Matrix right;
  Vector bias;
};
FactoredStart balanced_start(const BlockLoss& loss, Monitor& monitor);

// The solution with M = 0: its bias, and the smallest lambda_z at which it is optimal when every
// within-cluster amplitude is zero as well (fact: Z = 0 iff lambda_z >= this norm).
struct BiasOnly {
  Vector bias;
  double lambda_max = 0.0;
};
BiasOnly bias_only(const Problem& problem, Monitor& monitor);

}  // namespace ufm
