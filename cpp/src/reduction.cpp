#include "ufm/reduction.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "ufm/quadrature.hpp"

namespace ufm {
namespace {

class Planner {
 public:
  Planner(const Problem& problem, const ReductionOptions& options)
      : problem_(problem), options_(options) {}

  Reduction run() {
    const Index size = problem_.size();
    // The solution has a kink wherever clusters start or cease to collapse: no panel crosses one.
    // A few clusters on either side are kept, since each goes its own way, and the panels that
    // follow are short.
    std::vector<Index> cuts{0, size};
    for (const Index i : kinks()) {
      const Index above = gather(i, -1, options_.kept_mass);
      const Index below = gather(i, +1, options_.kept_mass);
      const std::pair upper(gather(above, -1, options_.short_mass), above);
      const std::pair lower(below, gather(below, +1, options_.short_mass));
      short_panels_.insert(short_panels_.end(), {upper, lower});
      cuts.insert(cuts.end(), {upper.first, above, i, below, lower.second});
    }
    std::sort(cuts.begin(), cuts.end());
    std::sort(short_panels_.begin(), short_panels_.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      cover(cuts[i], cuts[i + 1], nodes_for(cuts[i], cuts[i + 1]));
    }
    collect();
    return std::move(reduction_);
  }

 private:
  // The clusters that collapse where the one before does not, or the other way round.
  std::vector<Index> kinks() const {
    constexpr Index block = 512;  // short vectors stay in the cache
    std::vector<Index> found;
    bool before = problem_.threshold_ratio(0) < 1.0;
    for (Index first = 0; first < problem_.size(); first += block) {
      const Vector ratios =
          problem_.threshold_ratios(first, std::min(block, problem_.size() - first));
      for (Index i = 0; i < ratios.size(); ++i) {
        const bool apart = ratios[i] < 1.0;
        if (apart != before) {
          found.push_back(first + i);
        }
        before = apart;
      }
    }
    return found;
  }

  // The end of the clusters on one side of a cluster that hold about a number of classes.
  Index gather(Index from, Index direction, double classes) const {
    double mass = 0.0;
    Index at = from;
    while (mass < classes && at + direction >= 0 && at + direction <= problem_.size()) {
      const Index cluster = direction > 0 ? at : at - 1;
      mass += problem_.multiplicity[cluster];
      at += direction;
    }
    return at;
  }

  // A short panel that another threshold cuts counts as any other.
  Index nodes_for(Index first, Index last) const {
    const bool is_short =
        std::binary_search(short_panels_.begin(), short_panels_.end(), std::pair(first, last));
    return is_short ? options_.short_nodes : options_.nodes;
  }

  double log_count(Index cluster) const { return std::log(problem_.count[cluster]); }

  // The first of the clusters [first, last) whose count is not above a bound, or last.
  Index first_below(double bound, Index first, Index last) const {
    const double* counts = problem_.count.data();
    return std::lower_bound(counts + first, counts + last, bound, std::greater<double>()) - counts;
  }

  void keep(Index first, Index count) {
    Panel panel;
    panel.first = first;
    panel.count = count;
    panel.nodes = problem_.count.segment(first, count).array().log();
    panel.kept = true;
    add(std::move(panel), problem_.multiplicity.segment(first, count));
  }

  // Panels for the clusters [first, last): one if a Gauss rule with weights of at least one class
  // exists on them, otherwise halves.
  void cover(Index first, Index last, Index nodes) {
    const Index count = last - first;
    if (count <= 0) {
      return;
    }
    if (count <= nodes) {
      keep(first, count);
      return;
    }
    const double high = log_count(first);
    const double low = log_count(last - 1);
    if (high - low <= options_.width) {
      const Measure measure = log_measure(problem_.count.segment(first, count),
                                          problem_.multiplicity.segment(first, count));
      GaussRule rule = gauss_rule(measure, nodes);
      // A node with less than one class would have a negative number of further classes.
      if (rule.weights.minCoeff() >= 1.0) {
        Panel panel;
        panel.first = first;
        panel.count = count;
        panel.nodes = rule.nodes;
        panel.kept = false;
        add(std::move(panel), rule.weights);
        return;
      }
    }
    const Index split = first_below(std::exp(0.5 * (high + low)), first + 1, last - 1);
    cover(first, split, nodes);
    cover(split, last, nodes);
  }

  void add(Panel panel, const Vector& mass) {
    panel.first_node = num_nodes_;
    num_nodes_ += panel.nodes.size();
    masses_.push_back(mass);
    reduction_.panels.push_back(std::move(panel));
  }

  void collect() {
    Problem& reduced = reduction_.problem;
    reduced.smoothing = problem_.smoothing;
    reduced.lambda_z = problem_.lambda_z;
    reduced.lambda_b = problem_.lambda_b;
    for (Vector* vector : {&reduced.count, &reduced.loss_weight, &reduced.multiplicity}) {
      vector->resize(num_nodes_);
    }
    for (std::size_t p = 0; p < reduction_.panels.size(); ++p) {
      const Panel& panel = reduction_.panels[p];
      const Index nodes = panel.nodes.size();
      reduced.multiplicity.segment(panel.first_node, nodes) = masses_[p];
      if (panel.kept) {
        reduced.count.segment(panel.first_node, nodes) =
            problem_.count.segment(panel.first, panel.count);
        reduced.loss_weight.segment(panel.first_node, nodes) =
            problem_.loss_weight.segment(panel.first, panel.count);
        continue;
      }
      for (Index j = 0; j < nodes; ++j) {
        const double count = std::exp(panel.nodes[j]);
        reduced.count[panel.first_node + j] = count;
        reduced.loss_weight[panel.first_node + j] = count * weight_per_sample(panel, count);
      }
    }
  }

  // pi / n at a node, linear in n between the clusters; constant without class weights.
  double weight_per_sample(const Panel& panel, double count) const {
    const Index last = panel.first + panel.count - 1;
    const Index i = first_below(count, panel.first + 1, last) - 1;
    const auto ratio = [this](Index c) { return problem_.loss_weight[c] / problem_.count[c]; };
    // The counts differ, though their logarithms may not.
    const double share = (count - problem_.count[i]) / (problem_.count[i + 1] - problem_.count[i]);
    return ratio(i) + std::clamp(share, 0.0, 1.0) * (ratio(i + 1) - ratio(i));
  }

  const Problem& problem_;
  const ReductionOptions& options_;
  std::vector<std::pair<Index, Index>> short_panels_;
  Index num_nodes_ = 0;
  std::vector<Vector> masses_;
  Reduction reduction_;
};

}  // namespace

void Reduction::fill_interpolation(const Problem& from) {
  for (Panel& panel : panels) {
    panel.points = from.count.segment(panel.first, panel.count).array().log();
    panel.interpolation = panel.kept ? Matrix(Matrix::Identity(panel.count, panel.count))
                                     : lagrange_matrix(panel.nodes, panel.points);
  }
}

void Reduction::drop_interpolation() {
  for (Panel& panel : panels) {
    panel.points = Vector();
    panel.interpolation = Matrix();
  }
}

Matrix Reduction::expand(const Matrix& node_values) const {
  Matrix result(num_clusters(), node_values.cols());
  for (const Panel& panel : panels) {
    result.middleRows(panel.first, panel.count).noalias() =
        panel.interpolation * node_values.middleRows(panel.first_node, panel.nodes.size());
  }
  return result;
}

Index Reduction::num_clusters() const {
  return panels.empty() ? 0 : panels.back().first + panels.back().count;
}

bool is_reducible(const Problem& problem) {
  for (Index i = 1; i < problem.size(); ++i) {
    if (!(problem.count[i] < problem.count[i - 1])) {
      return false;
    }
  }
  return problem.is_plain();
}

Reduction reduce(const Problem& problem, const ReductionOptions& options) {
  return Planner(problem, options).run();
}

}  // namespace ufm
