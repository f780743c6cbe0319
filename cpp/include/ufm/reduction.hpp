// The continuum reduction: many clusters with different counts, told by a few nodes.
//
// Off the diagonal, the mean prediction matrix of many classes with different counts is a smooth
// function of (log n_j, log n_i), and so is the bias. A reduction replaces the clusters of a panel
// (an interval of log n) by the Gauss nodes of their measure; the Gauss weights are the nodes'
// multiplicities. Clusters that are too sparse for a rule stay as they are.
#pragma once

#include <vector>

#include "ufm/problem.hpp"
#include "ufm/types.hpp"

namespace ufm {

struct ReductionOptions {
  Index nodes = 8;     // a panel's nodes
  double width = 2.7;  // a panel's largest extent in log n
  // Next to the collapse threshold, on each side:
  double kept_mass = 4;    // classes kept as they are
  double short_mass = 16;  // classes of the short panel that follows
  Index short_nodes = 8;   // and its nodes
};

// Consecutive clusters [first, first + count) and the nodes that stand for them.
struct Panel {
  Index first;
  Index count;
  Index first_node;
  Vector nodes;          // log n of the nodes
  Vector points;         // log n of the clusters; see fill
  Matrix interpolation;  // count x nodes, the identity where clusters were kept; see fill
  bool kept;             // clusters kept as they are
};

struct Reduction {
  std::vector<Panel> panels;  // in the order of the clusters
  Problem problem;            // the reduced problem, one cluster a node

  // Computes the logarithms and interpolation matrices, which solving the nodes does not need.
  void fill_interpolation(const Problem& from);
  void drop_interpolation();
  // interpolation * values, block by block: from nodes (rows) to clusters (rows).
  Matrix expand(const Matrix& node_values) const;
  Index num_clusters() const;
};

// Whether a problem has the form that a reduction needs: plain labels, no scales or offsets,
// one cluster per count, clusters in order of falling count.
bool is_reducible(const Problem& problem);

Reduction reduce(const Problem& problem, const ReductionOptions& options);

}  // namespace ufm
