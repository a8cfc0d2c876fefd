// CUDA's words for a C++ compiler: the threads of a block are coroutines, which take turns at barriers.
// Barriers, shuffles and shared memory mean what they mean on a device. No header of the C library's
// mathematics is included: parsing them would take longer than all else.

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define __restrict__
#define __shared__ static
#define _FORTIFY_SOURCE 0
#include <ucontext.h>

struct Index { unsigned int x; };
static Index threadIdx, blockIdx;

#define OVERLOADED_1(F) extern "C" double F(double); extern "C" float F##f(float); \
  static inline float F(float x) { return F##f(x); }
#define OVERLOADED_2(F) extern "C" double F(double, double); extern "C" float F##f(float, float); \
  static inline float F(float x, float y) { return F##f(x, y); }
OVERLOADED_1(acos) OVERLOADED_1(acosh) OVERLOADED_1(asin) OVERLOADED_1(asinh) OVERLOADED_1(atan)
OVERLOADED_1(atanh) OVERLOADED_1(ceil) OVERLOADED_1(cos) OVERLOADED_1(cosh) OVERLOADED_1(erf)
OVERLOADED_1(erfc) OVERLOADED_1(exp) OVERLOADED_1(expm1) OVERLOADED_1(fabs) OVERLOADED_1(floor)
OVERLOADED_1(lgamma) OVERLOADED_1(log) OVERLOADED_1(log10) OVERLOADED_1(log1p) OVERLOADED_1(log2)
OVERLOADED_1(rint) OVERLOADED_1(sin) OVERLOADED_1(sinh) OVERLOADED_1(sqrt) OVERLOADED_1(tan)
OVERLOADED_1(tanh) OVERLOADED_1(trunc)
OVERLOADED_2(atan2) OVERLOADED_2(copysign) OVERLOADED_2(fmod) OVERLOADED_2(hypot) OVERLOADED_2(nextafter)
OVERLOADED_2(pow)

static inline double __longlong_as_double(long long bits) {
  double x;
  __builtin_memcpy(&x, &bits, 8);
  return x;
}

namespace host {
const int most = 1024, stack = 16384;
struct Barrier { int waiting, turn; };
static ucontext_t scheduler, contexts[most];
static char stacks[most][stack] __attribute__((aligned(16)));
static bool done[most];
static int threads;
static Barrier whole, warps[most / 32];
static unsigned long long slots[most];
static void (*body)();

static void entry() {
  body();
  done[threadIdx.x] = true;
}
static void wait(Barrier& b, int size) {
  const int turn = b.turn;
  if (++b.waiting == size) {
    b.waiting = 0;
    ++b.turn;
  }
  const unsigned int me = threadIdx.x;
  while (b.turn == turn) swapcontext(&contexts[me], &scheduler);
}
static void run(int blocks, int block, void (*kernel)()) {
  threads = block;
  body = kernel;
  for (blockIdx.x = 0; blockIdx.x < (unsigned int)blocks; ++blockIdx.x) {
    for (int i = 0; i < threads; ++i) {
      getcontext(&contexts[i]);
      contexts[i].uc_stack.ss_sp = stacks[i];
      contexts[i].uc_stack.ss_size = stack;
      contexts[i].uc_link = &scheduler;
      makecontext(&contexts[i], entry, 0);
      done[i] = false;
    }
    for (bool left = true; left;) {
      left = false;
      for (int i = 0; i < threads; ++i)
        if (!done[i]) {
          threadIdx.x = i;
          swapcontext(&scheduler, &contexts[i]);
          left = true;
        }
    }
  }
}
}  // namespace host

static inline void __syncthreads() { host::wait(host::whole, host::threads); }
static inline void __threadfence() {}
static inline unsigned int atomicAdd(unsigned int* p, unsigned int n) { const unsigned int old = *p; *p += n; return old; }
template <typename T> static inline T __shfl_xor_sync(unsigned int, T x, int offset) {
  host::Barrier& warp = host::warps[threadIdx.x / 32];
  __builtin_memcpy(&host::slots[threadIdx.x], &x, sizeof(T));
  host::wait(warp, 32);
  T y;
  __builtin_memcpy(&y, &host::slots[threadIdx.x ^ offset], sizeof(T));
  host::wait(warp, 32);
  return y;
}
