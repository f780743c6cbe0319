// Exact minimisation over the bias alone, for a fixed mean prediction matrix.
#pragma once

#include "ufm/loss.hpp"
#include "ufm/monitor.hpp"

namespace ufm {

// Minimises F(m, bias) + (lambda_b / 2) ||bias||^2 over the scaled bias, to rounding, starting
// from the bias given. Does nothing when the problem has no bias. state is that of the result.
void minimise_bias(const BlockLoss& loss, const Matrix& m, Vector& bias, LossState& state,
                   Monitor& monitor, double relative_accuracy = 1e-22);

}  // namespace ufm
