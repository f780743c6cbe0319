#include "ufm/expand.hpp"

#include <cmath>

namespace ufm {

void expand_classes(const Clusters& clusters, const Index* cluster_of, Index classes, double* z) {
  const Index size = clusters.size;
  Vector row_scale(size);
  Vector column_scale(size);
  for (Index i = 0; i < size; ++i) {
    row_scale[i] = std::sqrt(clusters.multiplicity[i]);
    column_scale[i] = std::sqrt(clusters.multiplicity[i] * clusters.count[i]);
  }
  Matrix rows(size, size);  // column j: row j of the clusters' Z
  Vector own(size);
  for (Index i = 0; i < size; ++i) {
    for (Index j = 0; j < size; ++j) {
      rows(i, j) = clusters.m[i * size + j] / row_scale[j] / column_scale[i];
    }
    // The mean over a cluster's classes, and how far its classes are from it.
    const double root_count = std::sqrt(clusters.count[i]);
    const double share = clusters.multiplicity[i] * root_count;
    rows(i, i) = clusters.m[i * size + i] / share - clusters.amplitudes[i] / share;
    own[i] = rows(i, i) + clusters.amplitudes[i] / root_count;
  }
  for (Index a = 0; a < classes; ++a, z += classes) {
    const double* row = rows.col(cluster_of[a]).data();
    for (Index b = 0; b < classes; ++b) {
      z[b] = row[cluster_of[b]];
    }
    z[a] = own[cluster_of[a]];
  }
}

}  // namespace ufm
