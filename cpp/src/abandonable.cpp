#include "ufm/abandonable.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace ufm {
namespace {

struct Job {
  std::function<void()> work;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::exception_ptr error;

  void run() {
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard<std::mutex> lock(mutex);
    error = failure;
    done = true;
    ended.notify_all();
  }

  bool is_done() {
    const std::lock_guard<std::mutex> lock(mutex);
    return done;
  }
};

struct Abandoned {
  std::mutex mutex;
  std::list<std::pair<std::shared_ptr<Job>, std::thread>> threads;
};

// Never destroyed: a thread that is still running must not end the program.
Abandoned* abandoned = new Abandoned;

void leave_behind(std::shared_ptr<Job> job, std::thread thread) {
  const std::lock_guard<std::mutex> lock(abandoned->mutex);
  auto& threads = abandoned->threads;
  for (auto place = threads.begin(); place != threads.end();) {
    if (place->first->is_done()) {
      place->second.join();
      place = threads.erase(place);
    } else {
      ++place;
    }
  }
  threads.emplace_back(std::move(job), std::move(thread));
}

}  // namespace

void run_watched(std::function<void()> work, Monitor& monitor) {
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  std::thread thread;
  try {
    thread = std::thread([job] { job->run(); });
  } catch (const std::system_error&) {
    job->run();  // no thread can be had: the work is done all the same
  }
  std::unique_lock<std::mutex> lock(job->mutex);
  while (!job->ended.wait_for(lock, std::chrono::milliseconds(20), [&job] { return job->done; })) {
    lock.unlock();
    StopReason reason = StopReason::none;
    try {
      reason = monitor.poll();
    } catch (...) {
      leave_behind(job, std::move(thread));
      throw;
    }
    if (reason != StopReason::none) {
      leave_behind(job, std::move(thread));
      throw StopRequest{reason};
    }
    lock.lock();
  }
  lock.unlock();
  if (thread.joinable()) {
    thread.join();
  }
  if (job->error) {
    std::rethrow_exception(job->error);
  }
}

void finish_abandoned() {
  const std::lock_guard<std::mutex> lock(abandoned->mutex);
  for (auto& [job, thread] : abandoned->threads) {
    thread.join();
  }
  abandoned->threads.clear();
}

int count_abandoned() {
  const std::lock_guard<std::mutex> lock(abandoned->mutex);
  int count = 0;
  for (auto& [job, thread] : abandoned->threads) {
    count += job->is_done() ? 0 : 1;
  }
  return count;
}

void forget_abandoned() { abandoned = new Abandoned; }

}  // namespace ufm
