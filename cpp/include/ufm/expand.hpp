// From the reduced solution of the clusters to the mean prediction matrix of the classes.
#pragma once

#include "ufm/types.hpp"

namespace ufm {

// A reduced solution, by pointers to its arrays.
struct Clusters {
  Index size;
  const double* count;
  const double* multiplicity;
  const double* m;  // column by column
  const double* amplitudes;
};

// Writes Z, classes x classes, row by row.
void expand_classes(const Clusters& clusters, const Index* cluster_of, Index classes, double* z);

}  // namespace ufm
