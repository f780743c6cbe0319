// The solvers' common face: a reduced problem in, a certified reduced solution out.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "ufm/certificate.hpp"
#include "ufm/monitor.hpp"
#include "ufm/problem.hpp"
#include "ufm/structured.hpp"

namespace ufm {

// Up to this many clusters a singular value decomposition costs next to nothing, and solutions are
// cleaned up so that singular values that should be zero are exactly zero.
constexpr Index small_problem = 64;

// Up to this many clusters iterations are so cheap that they go on to the limits of double
// precision, whatever the tolerance.
constexpr Index tiny_problem = 16;

// Up to this many clusters C x C matrices are held; beyond, the continuum method works with their
// structured form alone.
constexpr Index dense_limit = 1536;

// Beyond this many clusters the factored method is not tried where the continuum method falls
// short.
constexpr Index factored_limit = 4096;

enum class Method { automatic, proximal, factored, continuum };

enum class Status {
  converged,        // the relative duality gap is at most the tolerance
  max_iterations,   // the iteration limit came first
  time_limit,       // the time limit came first
  interrupted,      // stopped from outside
  numerical_error,  // no further progress was possible in double precision
};

// The solution of a problem near by, with the same clusters.
struct NearbySolution {
  Point point;             // with M = Z D^(1/2) in the counts of the problem to solve
  Vector threshold_ratio;  // per cluster, of the problem it solves
};

struct SolveOptions {
  double tol = 1e-6;
  Method method = Method::automatic;
  int max_iterations = 0;  // 0: the method's default
  // Where to start instead of the balanced solution. Not owned. The continuum method's nodes and
  // closed forms have no use for it.
  const NearbySolution* start = nullptr;
};

// Whether the limit leaves any after so many iterations, and how many (0: no limit).
inline bool may_iterate(const SolveOptions& options, int done) {
  return options.max_iterations == 0 || done < options.max_iterations;
}
inline int remaining_iterations(const SolveOptions& options, int done) {
  return options.max_iterations == 0 ? 0 : options.max_iterations - done;
}

struct ReducedSolution {
  Point point;                  // point.m is empty where the matrix is structured
  StructuredMatrix structured;  // M, for more than dense_limit clusters by the continuum method
  Vector amplitudes;            // alpha_i, within-cluster singular values of X
  double nuclear_norm = 0.0;    // of X, within-cluster part included
  Certificate certificate;
  Status status = Status::numerical_error;
  int iterations = 0;
  int inner_iterations = 0;          // Hessian products, where the method has an inner loop
  double certificate_seconds = 0.0;  // wall time of carrying over from nodes and certifying
  Index num_nodes = 0;               // nodes of the continuum reduction that was accepted, or 0
  Index rank = -1;                   // of Z, where the method tells it
  std::string method;
};

ReducedSolution solve(const Problem& problem, const SolveOptions& options, Monitor& monitor);

// The two halves of solve. The first is for one or two clusters: converged, or as good as rounding
// allows; empty where it does not apply. The second is for the rest.
std::optional<ReducedSolution> solve_directly(const Problem& problem, const SolveOptions& options);
ReducedSolution solve_iteratively(const Problem& problem, const SolveOptions& options,
                                  Monitor& monitor);

// What a method hands back before it is certified.
struct Iterate {
  Point point;
  Matrix left, right;         // M = left right^T, where the method knows factors of equal norm
  double nuclear_norm = 0.0;  // upper bound of ||M||_*
  // Whether nuclear_norm is exact and no singular value is only nearly zero.
  bool no_direction_vanishes = false;
  double relative_gap = std::numeric_limits<double>::infinity();  // where it was certified
  int iterations = 0;
  int inner_iterations = 0;
  double certificate_seconds = 0.0;
  Index num_nodes = 0;                      // of a continuum reduction
  Index rank = -1;                          // of Z, where the method tells it
  Status reason = Status::numerical_error;  // why it stopped, if it did not converge
};

// The status a stop request leads to; throws the request on when it asks to abandon.
Status status_of(const StopRequest& request);

// Start of the iterative methods, as M = left right^T.
struct FactoredStart {
  Matrix left;
  Matrix right;
  Vector bias;
};

// The balanced closed form, class by class.
FactoredStart balanced_start(const BlockLoss& loss, Monitor& monitor);
// A given point, by its singular value decomposition. Singular values below floor times the largest
// are raised to that.
FactoredStart start_from(const Point& point, double floor, Monitor& monitor);
// Where options ask to start, by default the balanced closed form.
FactoredStart first_start(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor);

Iterate solve_factored(const BlockLoss& loss, const FactoredStart& start,
                       const SolveOptions& options, Monitor& monitor);
Iterate solve_proximal(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor);

struct ContinuumResult : Iterate {
  bool found = false;           // false when no reduction was worth trying
  CertifiedPoint best;          // used instead of the iterate's own point
  StructuredMatrix structured;  // M in place of best.point.m where that would not be held
};
// Needs a problem for which is_reducible holds.
ContinuumResult solve_continuum(const Problem& problem, const SolveOptions& options,
                                Monitor& monitor);

// Rank of M at the optimum, told from a solution: the singular values that survive one proximal
// step, which sends those that are only nearly zero to zero.
Index between_rank(const Problem& problem, const Point& point);
Index between_rank(const Problem& problem, const Point& point, Monitor& monitor);

// The solution with M = 0: its bias, and the smallest lambda_z at which it is optimal when every
// within-cluster amplitude is zero as well (fact: Z = 0 iff lambda_z >= this norm).
struct BiasOnly {
  Vector bias;
  double lambda_max = 0.0;
};
BiasOnly bias_only(const Problem& problem, Monitor& monitor);

// Whether lambda_z is below the norm of some column of the gradient at Z = 0, which rules that
// solution out at a cost of C instead of C^2. Says no for problems with other than plain labels.
bool zero_is_ruled_out(const Problem& problem);

}  // namespace ufm
