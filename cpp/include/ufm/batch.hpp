// Many independent problems, solved by a pool of threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ufm/solve.hpp"

namespace ufm {

// Rows of differing lengths in one flat array: row i begins at values[start[i]]. Rows may overlap,
// so that problems can share one.
struct Rows {
  const double* values = nullptr;
  const Index* start = nullptr;

  const double* row(Index i) const { return values ? values + start[i] : nullptr; }
};

struct BatchInput {
  Index size = 0;
  const Index* num_classes = nullptr;
  Rows counts;
  Rows class_weights;                 // no values: all ones
  Rows scale;                         // no values: all ones
  Rows offset;                        // no values: all zero
  const double* smoothing = nullptr;  // null: none
  const double* lambda_z = nullptr;
  const double* lambda_b = nullptr;
};

// One entry per problem in every vector but the last two. A solution lies in points as
//     M by columns (C x C), scaled bias (C), amplitudes (C)
// or, where M = diag(d) + L R^T is structured, as d (C), L (C x r), R (C x r), bias, amplitudes.
struct BatchResult {
  std::vector<double> objective;
  std::vector<double> dual_objective;
  std::vector<double> relative_gap;
  std::vector<double> seconds;
  std::vector<std::int8_t> status;  // a Status
  std::vector<Index> iterations;
  std::vector<Index> rank;  // of Z; -1 where it would cost a decomposition of a large matrix
  std::vector<Index> collapsed_classes;
  std::vector<Index> num_clusters;  // 0: never started, the solution is Z = 0 and b = 0
  std::vector<Index> num_columns;   // r of a structured M, or -1
  std::vector<Index> num_nodes;     // of a continuum reduction, or 0
  std::vector<Index> method;        // index into method_names
  std::vector<Index> point_start;   // where the solution begins in points
  std::vector<double> points;
  std::vector<std::string> method_names;  // in order of first use
};

// Solves every problem as solve does, on that many threads. The results do not depend on the
// number of threads, apart from the seconds. The monitor is polled by the calling thread only:
// after a time limit the problems that were not started report the trivial certificate of Z = 0; a
// request to abandon is thrown on.
BatchResult solve_batch(const BatchInput& input, const SolveOptions& options, int threads,
                        Monitor& monitor);

}  // namespace ufm
