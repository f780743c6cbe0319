// Problems that several tests share.
#pragma once

#include "ufm/problem.hpp"

namespace ufm::testing {

// Clusters of 4, 1 and 2.5 classes with scales, offsets and smoothing: every term is switched on.
inline Problem general_problem() {
  Problem problem;
  problem.count = (Vector(3) << 500.0, 120.0, 30.0).finished();
  problem.multiplicity = (Vector(3) << 4.0, 1.0, 2.5).finished();
  const double samples = problem.count.dot(problem.multiplicity);
  problem.loss_weight = problem.count / samples;
  problem.loss_weight[1] *= 1.7;
  problem.scale = (Vector(3) << 1.0, 0.8, 1.3).finished();
  problem.offset = (Vector(3) << 0.2, -0.4, 0.1).finished();
  problem.smoothing = 0.05;
  problem.lambda_z = 0.0015;
  problem.lambda_b = 0.02;
  return problem;
}

// The minority-collapse experiment: 5 classes of 500 and 5 of 100.
inline Problem minority_problem(double lambda_z) {
  Problem problem;
  problem.count = (Vector(2) << 500.0, 100.0).finished();
  problem.multiplicity = (Vector(2) << 5.0, 5.0).finished();
  problem.loss_weight = problem.count / 3000.0;
  problem.lambda_z = lambda_z;
  problem.lambda_b = 0.02;
  return problem;
}

}  // namespace ufm::testing
