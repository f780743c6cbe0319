#include "ufm/problem.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "ufm/kernels.hpp"

namespace ufm {
namespace {

void require(bool condition, const char* message) {
  if (!condition) {
    throw std::invalid_argument(message);
  }
}

// The message is put together only when it is needed.
void require_value(bool condition, const char* rule, double value) {
  if (!condition) {
    throw std::invalid_argument(std::string(rule) + ", got " + std::to_string(value));
  }
}

void require_positive(const Eigen::Ref<const Vector>& values, const char* name,
                      double lowest = 0.0) {
  const double least = std::max(lowest, std::numeric_limits<double>::denorm_min());
  if (kernels::all_between(values.size(), values.data(), least,
                           std::numeric_limits<double>::max())) {
    return;
  }
  for (Index i = 0; i < values.size(); ++i) {
    if (!(std::isfinite(values[i]) && values[i] > 0.0 && values[i] >= lowest)) {
      std::ostringstream message;
      message << name << " must be finite and " << (lowest > 0.0 ? "at least " : "positive");
      if (lowest > 0.0) {
        message << lowest;
      }
      message << ", got " << values[i] << " at index " << i;
      throw std::invalid_argument(message.str());
    }
  }
}

// A value of each cluster, from those of the classes. What is empty stays so.
Vector gather(const Eigen::Ref<const Vector>& values, const Grouping& grouping) {
  const std::vector<Index>& indices = grouping.representative;
  if (values.size() == 0 || indices.empty()) {
    return values;
  }
  Vector result(grouping.multiplicity.size());
  for (Index i = 0; i < result.size(); ++i) {
    result[i] = values[indices[static_cast<std::size_t>(i)]];
  }
  return result;
}

// Count, class weight, scale and offset of a class.
using CompositeKey = std::array<double, 4>;

// Up to limit distinct values of value(0), ..., value(size - 1), in order of first occurrence.
template <typename GetValue>
auto first_distinct(Index size, std::size_t limit, const GetValue& value) {
  using Value = std::decay_t<decltype(value(0))>;
  std::vector<Value> distinct{value(0)};
  // Without the second of the last two, two values in random order would cost a mispredicted
  // branch each time.
  Value last = distinct[0];
  Value second_last = last;
  for (Index k = 1; k < size && distinct.size() < limit; ++k) {
    const Value candidate = value(k);
    const int matches = int{candidate == last} + int{candidate == second_last};
    if (matches > 0) {
      continue;
    }
    if (std::find(distinct.begin(), distinct.end(), candidate) == distinct.end()) {
      distinct.push_back(candidate);
    }
    second_last = last;
    last = candidate;
  }
  return distinct;
}

// Up to this many distinct values are found and looked up faster without sorting all of them.
constexpr std::size_t few_values = 8;

// Whether value(0), ..., value(size - 1) hold at least limit distinct values, for a large limit.
template <typename GetValue>
bool many_distinct(Index size, std::size_t limit, const GetValue& value) {
  std::set<std::decay_t<decltype(value(0))>> distinct{value(0)};
  for (Index k = 1; k < size && distinct.size() < limit; ++k) {
    if (value(k) != value(k - 1)) {
      distinct.insert(value(k));
    }
  }
  return distinct.size() >= limit;
}

// The grouping of values that fall already, without a search for each.
template <typename Value>
Grouping group_falling(const Value* values, std::size_t size) {
  Grouping grouping;
  std::size_t distinct = 1;
  for (std::size_t k = 1; k < size; ++k) {
    distinct += values[k] != values[k - 1] ? 1 : 0;
  }
  if (distinct == size) {
    grouping.multiplicity = Vector::Ones(static_cast<Index>(size));
    return grouping;
  }
  grouping.cluster_of.resize(size);
  grouping.representative.resize(distinct);
  grouping.multiplicity.resize(static_cast<Index>(distinct));
  // From the end, so that the first class of a cluster is the last to be written.
  std::size_t cluster = distinct - 1;
  for (std::size_t k = size; k-- > 0;) {
    grouping.cluster_of[k] = static_cast<Index>(cluster);
    grouping.representative[cluster] = static_cast<Index>(k);
    cluster -= k > 0 && values[k] != values[k - 1] ? 1 : 0;
  }
  auto end = static_cast<Index>(size);
  for (cluster = distinct; cluster-- > 0;) {
    const Index first = grouping.representative[cluster];
    grouping.multiplicity[static_cast<Index>(cluster)] = static_cast<double>(end - first);
    end = first;
  }
  return grouping;
}

template <typename Value>
Grouping group_values(const Value* values, std::size_t size) {
  std::vector<Value> distinct = first_distinct(static_cast<Index>(size), few_values + 1,
                                               [values](Index k) { return values[k]; });
  const bool few = distinct.size() <= few_values;
  if (!few) {
    if (std::is_sorted(values, values + size, std::greater<Value>())) {
      return group_falling(values, size);
    }
    distinct.assign(values, values + size);
  }
  // Sorts the values rather than the classes, which is fast when many classes share a value.
  std::sort(distinct.begin(), distinct.end(), std::greater<Value>());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  Grouping grouping;
  grouping.cluster_of.resize(size);
  grouping.representative.resize(distinct.size());
  grouping.multiplicity = Vector::Zero(static_cast<Index>(distinct.size()));
  for (std::size_t k = size; k-- > 0;) {
    Index cluster = 0;
    if (few) {
      for (const Value& larger : distinct) {
        cluster += larger > values[k] ? 1 : 0;
      }
    } else {
      cluster =
          std::lower_bound(distinct.begin(), distinct.end(), values[k], std::greater<Value>()) -
          distinct.begin();
    }
    grouping.cluster_of[k] = cluster;
    grouping.representative[static_cast<std::size_t>(cluster)] = static_cast<Index>(k);
    grouping.multiplicity[cluster] += 1.0;
  }
  return grouping;
}

// A threshold ratio: on the threshold itself, rounding is not to decide.
double without_rounding(double ratio) {
  constexpr double rounding = 8.0 * std::numeric_limits<double>::epsilon();
  return std::abs(ratio - 1.0) <= rounding ? 1.0 : ratio;
}

}  // namespace

bool Problem::has_bias() const { return lambda_b < std::numeric_limits<double>::infinity(); }

double Problem::threshold_ratio(Index i) const {
  return without_rounding(lambda_z * std::sqrt(count[i]) / (loss_weight[i] * scale_of(i)) +
                          smoothing);
}

Vector Problem::threshold_ratios(Index first, Index number) const {
  const auto part = [=](const Vector& values) { return values.segment(first, number).array(); };
  Vector ratios = lambda_z * part(count).sqrt() / part(loss_weight);
  if (scale.size()) {
    ratios.array() /= part(scale);
  }
  ratios.array() += smoothing;
  for (double& ratio : ratios) {
    ratio = without_rounding(ratio);
  }
  return ratios;
}

bool Problem::amplitude_active(Index i) const {
  return multiplicity[i] > 1.0 && threshold_ratio(i) < 1.0;
}

bool Problem::is_plain() const {
  return smoothing == 0.0 && kernels::all_between(scale.size(), scale.data(), 1.0, 1.0) &&
         kernels::all_between(offset.size(), offset.data(), 0.0, 0.0);
}

Vector Problem::flat_direction() const {
  return multiplicity.cwiseSqrt().cwiseQuotient(all_scales()).normalized();
}

double Problem::curvature_bound() const {
  return 0.5 * (all_scales().array().square() * loss_weight.array() / count.array()).maxCoeff();
}

Index Problem::within_rank(const Vector& amplitudes) const {
  double rank = 0.0;
  for (Index i = 0; i < size(); ++i) {
    if (amplitudes[i] > 0.0) {
      rank += multiplicity[i] - 1.0;
    }
  }
  return static_cast<Index>(std::llround(rank));
}

void validate(const Problem& problem) {
  const Index size = problem.size();
  require(size > 0, "a problem needs at least one cluster");
  require(problem.loss_weight.size() == size && problem.multiplicity.size() == size,
          "the vectors of a problem differ in length");
  for (const Vector* optional : {&problem.scale, &problem.offset}) {
    require(optional->size() == 0 || optional->size() == size,
            "the scale and offset of a problem must be empty or as long as its count");
  }
  require_positive(problem.count, "count");
  require_positive(problem.loss_weight, "loss_weight");
  require_positive(problem.multiplicity, "multiplicity", 1.0);
  // Its inverse must be finite.
  require_positive(problem.scale, "scale", std::numeric_limits<double>::min());
  require(problem.offset.allFinite(), "offset must be finite");
  require_value(std::isfinite(problem.lambda_z) && problem.lambda_z > 0.0,
                "lambda_z must be positive and finite", problem.lambda_z);
  require_value(problem.lambda_b >= 0.0, "lambda_b must be >= 0 or infinity", problem.lambda_b);
  require_value(problem.smoothing >= 0.0 && problem.smoothing < 1.0, "smoothing must lie in [0, 1)",
                problem.smoothing);
}

std::vector<Index> Grouping::take_cluster_of(Index num_classes) {
  if (representative.empty()) {
    cluster_of.resize(static_cast<std::size_t>(num_classes));
    std::iota(cluster_of.begin(), cluster_of.end(), Index{0});
  }
  return std::move(cluster_of);
}

Grouping group_classes(const std::vector<const double*>& keys, Index num_classes) {
  if (keys.size() == 1) {
    return group_values(keys[0], static_cast<std::size_t>(num_classes));
  }
  std::vector<CompositeKey> values(static_cast<std::size_t>(num_classes), CompositeKey{});
  for (std::size_t part = 0; part < keys.size(); ++part) {
    for (std::size_t k = 0; k < values.size(); ++k) {
      values[k].at(part) = keys[part][k];
    }
  }
  return group_values(values.data(), values.size());
}

bool has_distinct(const double* counts, const double* class_weights, Index num_classes,
                  Index limit) {
  if (num_classes < limit) {
    return false;
  }
  const auto size = static_cast<std::size_t>(limit);
  const auto enough = [=](const auto& value) {
    return size <= few_values ? first_distinct(num_classes, size, value).size() >= size
                              : many_distinct(num_classes, size, value);
  };
  if (!class_weights) {
    return enough([=](Index k) { return counts[k]; });
  }
  return enough([=](Index k) { return std::make_pair(counts[k], class_weights[k]); });
}

Problem make_problem(const Eigen::Ref<const Vector>& counts, const Vector& class_weights,
                     double lambda_z, double lambda_b, const LossShape& shape, Grouping& grouping) {
  const Index num_classes = counts.size();
  require(num_classes > 0, "counts must hold at least one class");
  require_positive(counts, "counts");
  for (const Vector* optional : {&class_weights, &shape.scale, &shape.offset}) {
    require(optional->size() == 0 || optional->size() == num_classes,
            "class_weights, scale and offset must have one entry per class");
    // What is not a number equals nothing, and cannot be grouped.
    require(!optional->hasNaN(), "class_weights, scale and offset must be numbers");
  }
  std::vector<const double*> keys{counts.data()};
  for (const Vector* optional : {&class_weights, &shape.scale, &shape.offset}) {
    if (optional->size()) {
      keys.push_back(optional->data());
    }
  }
  grouping = group_classes(keys, num_classes);

  Problem problem;
  problem.count = gather(counts, grouping);
  problem.loss_weight = problem.count / counts.sum();
  if (class_weights.size()) {
    problem.loss_weight =
        gather(class_weights, grouping).cwiseProduct(problem.count) / counts.sum();
  }
  problem.scale = gather(shape.scale, grouping);
  problem.offset = gather(shape.offset, grouping);
  problem.multiplicity = std::move(grouping.multiplicity);
  problem.smoothing = shape.smoothing;
  problem.lambda_z = lambda_z;
  problem.lambda_b = lambda_b;
  validate(problem);
  return problem;
}

}  // namespace ufm
