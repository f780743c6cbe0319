#include <atomic>

#include "registry.hpp"
#include "ufm/abandonable.hpp"
#include "ufm/blas_room.hpp"
#include "ufm/linalg.hpp"

namespace {

// Limit on the threads of batches: none while it is zero.
std::atomic<int> thread_limit{0};

}  // namespace

#if defined(_WIN32)
#define UFM_EXPORT __declspec(dllexport)
#else
#define UFM_EXPORT __attribute__((visibility("default")))
#endif

// What threadpoolctl looks for in a library whose threads it is to limit.
extern "C" UFM_EXPORT int ufm_get_num_threads() { return thread_limit.load(); }
extern "C" UFM_EXPORT void ufm_set_num_threads(int threads) {
  thread_limit.store(threads > 0 ? threads : 0);
}

namespace ufm::python {

void register_threads(pybind11::module_& module) {
  module.def("thread_limit", &ufm_get_num_threads, "Limit on the threads of a batch, 0 for none.");
  module.def("expect_blas_threads", &expect_blas_threads,
             "Number of threads that BLAS uses in a call, each with a buffer of its own.");
  module.def("finish_abandoned", &finish_abandoned,
             pybind11::call_guard<pybind11::gil_scoped_release>(),
             "Wait for decompositions that were given up; to be called before the process ends.");
  module.def("count_abandoned", &count_abandoned, "Decompositions given up and still running.");
  module.def("forget_abandoned", &forget_abandoned, "To be called in a forked child.");
  module.def("forget_blas_calls", &forget_blas_calls, "To be called in a forked child.");
}

}  // namespace ufm::python
