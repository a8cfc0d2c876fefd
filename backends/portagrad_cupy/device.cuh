// What generated kernels call. No header is included, so that NVRTC alone compiles it.

#define PG_INF __longlong_as_double(0x7ff0000000000000LL)
#define PG_NAN __longlong_as_double(0x7ff8000000000000LL)

template <typename R> struct alignas(2 * sizeof(R)) pg_complex { R re, im; };

template <typename R> __device__ inline pg_complex<R> pg_made(R re, R im) { return {re, im}; }
template <typename R> __device__ inline pg_complex<R> operator-(pg_complex<R> a) { return {-a.re, -a.im}; }
template <typename R> __device__ inline pg_complex<R> operator+(pg_complex<R> a, pg_complex<R> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename R> __device__ inline pg_complex<R> operator-(pg_complex<R> a, pg_complex<R> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename R> __device__ inline pg_complex<R> operator*(pg_complex<R> a, pg_complex<R> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
// Smith (1962), "Algorithm 116: Complex division", as NumPy does.
template <typename R> __device__ inline pg_complex<R> operator/(pg_complex<R> a, pg_complex<R> b) {
  if (fabs(b.re) >= fabs(b.im)) {
    if (b.re == 0 && b.im == 0) return {a.re / fabs(b.re), a.im / fabs(b.re)};
    const R ratio = b.im / b.re, scale = 1 / (b.re + b.im * ratio);
    return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
  }
  const R ratio = b.re / b.im, scale = 1 / (b.im + b.re * ratio);
  return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
template <typename R> __device__ inline bool operator==(pg_complex<R> a, pg_complex<R> b) {
  return a.re == b.re && a.im == b.im;
}
template <typename R> __device__ inline bool operator!=(pg_complex<R> a, pg_complex<R> b) { return !(a == b); }
template <typename R> __device__ inline pg_complex<R> pg_conj(pg_complex<R> a) { return {a.re, -a.im}; }
template <typename R> __device__ inline R pg_abs(pg_complex<R> a) { return hypot(a.re, a.im); }
template <typename R> __device__ inline bool pg_isinf(pg_complex<R> a) {
  return fabs(a.re) == (R)PG_INF || fabs(a.im) == (R)PG_INF;
}
template <typename R> __device__ inline bool pg_isfinite(pg_complex<R> a) {
  return fabs(a.re) < (R)PG_INF && fabs(a.im) < (R)PG_INF;
}

template <typename T> __device__ inline T pg_maximum(T a, T b) { return a > b || a != a ? a : b; }
template <typename T> __device__ inline T pg_minimum(T a, T b) { return a < b || a != a ? a : b; }

// Quotients rounded down and their remainders, as Python's: of integers 0 where the divisor is 0.
template <typename T> __device__ inline T pg_remainder(T a, T b) {
  if (b == 0 || (b < 0 && b == (T)-1)) return 0;
  const T r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
template <typename T> __device__ inline T pg_floor_divide(T a, T b) {
  if (b == 0) return 0;
  if (b < 0 && b == (T)-1) return (T)(0 - (unsigned long long)a);
  const T q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}
template <typename R> __device__ inline R pg_float_remainder(R a, R b) {
  const R r = fmod(a, b);
  if (r == 0) return copysign((R)0, b);
  return b != 0 && (r < 0) != (b < 0) ? r + b : r;
}
template <typename R> __device__ inline R pg_float_floor_divide(R a, R b) {
  if (b == 0) return a / b;
  const R r = fmod(a, b);
  R q = (a - r) / b;
  if (r != 0 && (r < 0) != (b < 0)) q -= 1;
  if (q == 0) return copysign((R)0, a / b);
  const R whole = floor(q);
  return q - whole > (R)0.5 ? whole + 1 : whole;
}
__device__ inline float pg_remainder(float a, float b) { return pg_float_remainder(a, b); }
__device__ inline double pg_remainder(double a, double b) { return pg_float_remainder(a, b); }
__device__ inline float pg_floor_divide(float a, float b) { return pg_float_floor_divide(a, b); }
__device__ inline double pg_floor_divide(double a, double b) { return pg_float_floor_divide(a, b); }

// Shifts by as many bits as there are, or more, leave nothing but the sign.
template <typename T> __device__ inline T pg_left(T a, T b) {
  return b < 0 || (unsigned long long)b >= 8 * sizeof(T) ? 0 : (T)((unsigned long long)a << b);
}
template <typename T> __device__ inline T pg_right(T a, T b) {
  return b < 0 || (unsigned long long)b >= 8 * sizeof(T) ? (a < 0 ? (T)-1 : (T)0) : (T)(a >> b);
}

template <typename R> __device__ inline R pg_logaddexp(R a, R b) {
  if (a == b) return a + log((R)2);
  const R d = a - b;
  return d > 0 ? a + log1p(exp(-d)) : d <= 0 ? b + log1p(exp(d)) : d;
}

// Threefry-2x32 with 20 rounds; portagrad/ops/random.py says where it is from.
__device__ inline int pg_threefry(int high, int low, int x0, int x1, int word) {
  const unsigned int k[3] = {(unsigned int)high, (unsigned int)low,
                             (unsigned int)high ^ (unsigned int)low ^ 0x1BD11BDAu};
  const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  unsigned int a = (unsigned int)x0 + k[0], b = (unsigned int)x1 + k[1];
#pragma unroll
  for (int group = 0; group < 5; ++group) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = rotations[4 * (group % 2) + i];
      a += b;
      b = ((b << r) | (b >> (32 - r))) ^ a;
    }
    a += k[(group + 1) % 3];
    b += k[(group + 2) % 3] + group + 1;
  }
  return (int)(word ? b : a);
}

// Reductions: how two values are combined. A NaN wins from either side.
struct pg_sum { template <typename T> __device__ T operator()(T a, T b) const { return a + b; } };
struct pg_product { template <typename T> __device__ T operator()(T a, T b) const { return a * b; } };
struct pg_max { template <typename T> __device__ T operator()(T a, T b) const { return pg_maximum(a, b); } };
struct pg_min { template <typename T> __device__ T operator()(T a, T b) const { return pg_minimum(a, b); } };
struct pg_and { __device__ bool operator()(bool a, bool b) const { return a && b; } };
struct pg_or { __device__ bool operator()(bool a, bool b) const { return a || b; } };

template <typename T> __device__ inline T pg_shuffled(T x, int offset) {
  return (T)__shfl_xor_sync(0xffffffffu, (int)x, offset);  // what is narrower than a word
}
#define PG_SHUFFLED(T) \
  __device__ inline T pg_shuffled(T x, int offset) { return __shfl_xor_sync(0xffffffffu, x, offset); }
PG_SHUFFLED(float)
PG_SHUFFLED(double)
PG_SHUFFLED(unsigned int)
PG_SHUFFLED(long long)
PG_SHUFFLED(unsigned long long)
template <typename R> __device__ inline pg_complex<R> pg_shuffled(pg_complex<R> x, int offset) {
  return {pg_shuffled(x.re, offset), pg_shuffled(x.im, offset)};
}

// Over groups of LANES neighbouring threads, a power of two up to 32, or over the block of PG_THREADS; every
// thread gets the result. All threads of the block call it. The order is the same in each run.
template <int LANES, typename T, typename F> __device__ inline T pg_reduced(T x, F combine) {
#pragma unroll
  for (int offset = 1; offset < (LANES < 32 ? LANES : 32); offset *= 2) x = combine(x, pg_shuffled(x, offset));
  if (LANES <= 32) return x;
  __shared__ T parts[PG_THREADS / 32];
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  x = parts[0];
  for (int i = 1; i < PG_THREADS / 32; ++i) x = combine(x, parts[i]);
  __syncthreads();
  return x;
}

// Over the threads whose numbers differ by multiples of COLUMNS, a power of two; every thread gets the result.
template <int COLUMNS, typename T, typename F> __device__ inline T pg_stacked(T x, F combine) {
  __shared__ T parts[PG_THREADS];
  parts[threadIdx.x] = x;
  __syncthreads();
#pragma unroll
  for (int half = PG_THREADS / COLUMNS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half * COLUMNS)
      parts[threadIdx.x] = combine(parts[threadIdx.x], parts[threadIdx.x + half * COLUMNS]);
    __syncthreads();
  }
  x = parts[threadIdx.x % COLUMNS];
  __syncthreads();
  return x;
}

// What another block has written in this launch, read past the first cache.
template <typename T> __device__ inline T pg_fresh(const T* p) { return *(const volatile T*)p; }
template <typename R> __device__ inline pg_complex<R> pg_fresh(const pg_complex<R>* p) {
  return {pg_fresh(&p->re), pg_fresh(&p->im)};
}

// Whether this block is the last of `blocks` to come here; all threads of the block call it.
// The counter is 0 again afterwards.
__device__ inline bool pg_last(unsigned int* counter, unsigned int blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}
