#include "ufm/batch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

namespace ufm {
namespace {

using Clock = std::chrono::steady_clock;

// Passes on to a worker what the calling thread decided.
class WorkerMonitor final : public Monitor {
 public:
  explicit WorkerMonitor(const std::atomic<StopReason>& stop) : stop_(stop) {}
  StopReason poll() override { return stop_.load(std::memory_order_relaxed); }

 private:
  const std::atomic<StopReason>& stop_;
};

// Number of classes that share their mean prediction with another class.
Index count_collapsed(const Problem& problem, const Vector& amplitudes) {
  double classes = 0.0;
  for (Index i = 0; i < problem.size(); ++i) {
    if (problem.multiplicity[i] > 1.0 && amplitudes[i] == 0.0) {
      classes += problem.multiplicity[i];
    }
  }
  return static_cast<Index>(classes);
}

Index count_rank(const Problem& problem, const ReducedSolution& solution) {
  const Index size = problem.size();
  if (solution.rank >= 0 || size > small_problem) {
    return solution.rank;
  }
  Index rank = 0;
  if (solution.point.m.allFinite()) {
    const Vector values = singular_values(solution.point.m);
    const double rounding =
        values[0] * 8.0 * static_cast<double>(size) * std::numeric_limits<double>::epsilon();
    rank = (values.array() > rounding).count();
  }
  return rank + problem.within_rank(solution.amplitudes);
}

// Value at Z = 0 and b = 0: the offsets are all there is of the logits.
double loss_at_zero(const Problem& problem) {
  const Vector& k = problem.multiplicity;
  const Vector offset = problem.all_offsets();
  const double top = offset.maxCoeff();
  const double log_sum = top + std::log(k.dot((offset.array() - top).exp().matrix()));
  const double mean = k.dot(offset) / problem.num_classes();
  const auto of_label = (1.0 - problem.smoothing) * offset.array() + problem.smoothing * mean;
  return k.cwiseProduct(problem.loss_weight).dot((log_sum - of_label).matrix());
}

// The grouped problem of a row; kept for as long as the following problems have the same row.
class ProblemCache {
 public:
  const Problem& get(const BatchInput& input, Index i) {
    const Key key{input.counts.row(i), input.class_weights.row(i), input.scale.row(i),
                  input.offset.row(i), input.num_classes[i]};
    if (key != key_) {
      const auto vector = [&](const double* row) {
        return row ? Vector(Eigen::Map<const Vector>(row, input.num_classes[i])) : Vector();
      };
      key_ = Key();  // in case of an exception
      problem_ =
          make_problem(vector(input.counts.row(i)), vector(input.class_weights.row(i)),
                       input.lambda_z[i], input.lambda_b[i],
                       {vector(input.scale.row(i)), vector(input.offset.row(i)), 0.0}, grouping_);
      key_ = key;
    }
    problem_.smoothing = input.smoothing ? input.smoothing[i] : 0.0;
    problem_.lambda_z = input.lambda_z[i];
    problem_.lambda_b = input.lambda_b[i];
    return problem_;
  }

 private:
  // Where the rows lie, and their length.
  using Key = std::tuple<const double*, const double*, const double*, const double*, Index>;

  Key key_;
  Grouping grouping_;
  Problem problem_;
};

class BatchRun {
 public:
  BatchRun(const BatchInput& input, const SolveOptions& options, int threads)
      : input_(input), options_(options) {
    const Index workers = std::max<Index>(threads, 1);
    chunk_size_ = std::clamp<Index>(input.size / (32 * workers), 1, 64);
    num_chunks_ = (input.size + chunk_size_ - 1) / chunk_size_;
    num_workers_ = std::min(workers, num_chunks_);
    points_.resize(static_cast<std::size_t>(num_chunks_));
    const auto size = static_cast<std::size_t>(input.size);
    for (auto* vector :
         {&result_.objective, &result_.dual_objective, &result_.relative_gap, &result_.seconds}) {
      vector->resize(size);
    }
    for (auto* vector :
         {&result_.iterations, &result_.rank, &result_.collapsed_classes, &result_.num_clusters,
          &result_.num_columns, &result_.num_nodes, &result_.method, &result_.point_start}) {
      vector->resize(size);
    }
    result_.status.resize(size);
  }

  BatchResult run(Monitor& monitor) {
    std::vector<std::thread> workers;
    workers.reserve(static_cast<std::size_t>(num_workers_));
    try {
      start_workers(workers);
      supervise(monitor);
    } catch (...) {
      fail();
    }
    for (std::thread& worker : workers) {
      worker.join();
    }
    if (error_) {
      std::rethrow_exception(error_);
    }
    if (stop_ == StopReason::abandon) {
      throw StopRequest{StopReason::abandon};
    }
    order_methods();
    gather_points();
    return std::move(result_);
  }

 private:
  // As many threads as can be had; results do not depend on their number.
  void start_workers(std::vector<std::thread>& workers) {
    const Index wanted = num_workers_;
    for (Index w = 0; w < wanted; ++w) {
      try {
        workers.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        if (workers.empty()) {
          throw std::bad_alloc();  // usually for want of address space for its stack
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        num_workers_ = w;
        return;
      }
    }
  }

  void supervise(Monitor& monitor) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto all_done = [this] { return finished_ == num_workers_; };
    while (!ended_.wait_for(lock, std::chrono::milliseconds(20), all_done)) {
      lock.unlock();
      const StopReason reason = monitor.poll();
      if (reason != StopReason::none && stop_ == StopReason::none) {
        stop_ = reason;
      }
      lock.lock();
    }
  }

  // Keeps the first exception of any thread and ends the others.
  void fail() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) {
      error_ = std::current_exception();
    }
    stop_ = StopReason::abandon;
  }

  void work() {
    try {
      WorkerMonitor monitor(stop_);
      ProblemCache cache;
      std::vector<std::pair<std::string, Index>> methods;
      for (Index chunk = next_chunk_++; chunk < num_chunks_; chunk = next_chunk_++) {
        const Index last = std::min((chunk + 1) * chunk_size_, input_.size);
        for (Index i = chunk * chunk_size_; i < last; ++i) {
          const StopReason reason = monitor.poll();
          if (reason == StopReason::abandon) {
            throw StopRequest{reason};
          }
          const Problem& problem = cache.get(input_, i);
          if (reason != StopReason::none) {
            record_trivial(problem, i, status_of({reason}));
          } else {
            solve_one(problem, i, chunk, monitor, methods);
          }
        }
      }
    } catch (const StopRequest&) {
      // The calling thread knows.
    } catch (...) {
      fail();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ++finished_;
    ended_.notify_all();
  }

  void solve_one(const Problem& problem, Index i, Index chunk, Monitor& monitor,
                 std::vector<std::pair<std::string, Index>>& methods) {
    const Clock::time_point start = Clock::now();
    ReducedSolution solution;
    try {
      solution = solve(problem, options_, monitor);
    } catch (const std::runtime_error&) {
      // A decomposition that did not converge costs this problem, not the batch.
      record_trivial(problem, i, Status::numerical_error);
      return;
    }
    const auto at = static_cast<std::size_t>(i);
    result_.seconds[at] = std::chrono::duration<double>(Clock::now() - start).count();
    result_.objective[at] = solution.certificate.primal;
    result_.dual_objective[at] = solution.certificate.dual;
    result_.relative_gap[at] = solution.certificate.relative_gap;
    result_.status[at] = static_cast<std::int8_t>(solution.status);
    result_.iterations[at] = solution.iterations;
    result_.rank[at] = count_rank(problem, solution);
    result_.collapsed_classes[at] = count_collapsed(problem, solution.amplitudes);
    result_.num_clusters[at] = problem.size();
    result_.method[at] = method_index(solution.method, methods);
    const StructuredMatrix& structured = solution.structured;
    result_.num_columns[at] = structured.empty() ? -1 : structured.left.cols();
    result_.num_nodes[at] = solution.num_nodes;
    std::vector<double>& points = points_[static_cast<std::size_t>(chunk)];
    const auto append = [&points](const auto& matrix) {
      points.insert(points.end(), matrix.data(), matrix.data() + matrix.size());
    };
    append(solution.point.m);  // empty where M is structured
    append(structured.diagonal);
    append(structured.left);
    append(structured.right);
    append(solution.point.bias);
    append(solution.amplitudes);
  }

  // Z = 0 and b = 0 are feasible, and no loss is negative.
  void record_trivial(const Problem& problem, Index i, Status status) {
    const auto at = static_cast<std::size_t>(i);
    const double objective = loss_at_zero(problem);
    const double gap = relative_gap(objective, 0.0);
    result_.objective[at] = objective;
    result_.relative_gap[at] = gap;
    result_.status[at] = static_cast<std::int8_t>(gap <= options_.tol ? Status::converged : status);
    result_.collapsed_classes[at] = count_collapsed(problem, Vector::Zero(problem.size()));
    result_.num_columns[at] = -1;
    result_.method[at] = -1;
  }

  // Index of a method's name, looked up among those this thread has met first.
  Index method_index(const std::string& name, std::vector<std::pair<std::string, Index>>& known) {
    for (const auto& [text, index] : known) {
      if (text == name) {
        return index;
      }
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& names = result_.method_names;
    const auto place = std::find(names.begin(), names.end(), name);
    const Index index = place - names.begin();
    if (place == names.end()) {
      names.push_back(name);
    }
    known.emplace_back(name, index);
    return index;
  }

  // Renumbers the methods by first use, so that their order does not depend on the threads.
  void order_methods() {
    std::vector<std::string> ordered;
    std::vector<Index> place(result_.method_names.size() + 1, -1);
    for (Index& method : result_.method) {
      Index& target = place[static_cast<std::size_t>(method + 1)];
      if (target < 0) {
        target = static_cast<Index>(ordered.size());
        ordered.push_back(method < 0 ? "none"
                                     : result_.method_names[static_cast<std::size_t>(method)]);
      }
      method = target;
    }
    result_.method_names = std::move(ordered);
  }

  void gather_points() {
    Index total = 0;
    for (std::size_t i = 0; i < result_.point_start.size(); ++i) {
      const Index clusters = result_.num_clusters[i];
      const Index columns = result_.num_columns[i];
      result_.point_start[i] = total;
      total += clusters * (columns < 0 ? clusters + 2 : 2 * columns + 3);
    }
    result_.points.reserve(static_cast<std::size_t>(total));
    for (std::vector<double>& points : points_) {
      result_.points.insert(result_.points.end(), points.begin(), points.end());
      points = std::vector<double>();
    }
  }

  const BatchInput& input_;
  const SolveOptions& options_;
  Index chunk_size_ = 1;
  Index num_chunks_ = 0;
  Index num_workers_ = 0;
  BatchResult result_;
  std::vector<std::vector<double>> points_;  // of each chunk
  std::atomic<Index> next_chunk_{0};
  std::atomic<StopReason> stop_{StopReason::none};
  std::mutex mutex_;
  std::condition_variable ended_;
  Index finished_ = 0;  // workers that have ended
  std::exception_ptr error_;
};

}  // namespace

BatchResult solve_batch(const BatchInput& input, const SolveOptions& options, int threads,
                        Monitor& monitor) {
  return BatchRun(input, options, threads).run(monitor);
}

}  // namespace ufm
