// Vectors of floats as wide as the processor's, by the compiler's own vector types, and the functions a step needs.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 8;
#else
constexpr int LANES = 8, TILE_ROWS = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

inline Floats all(float x) { return x - Floats{}; }

inline Floats load(const float* from) {
    Floats v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

#if defined(__AVX512BF16__)
// bfloat16 is the upper half of a float.
inline Floats load(const uint16_t* from) {
    Halves v;
    std::memcpy(&v, from, sizeof v);
    return (Floats)(__builtin_convertvector(v, Ints) << 16);
}

inline void store(uint16_t* to, Floats v) {
    __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(to, &halves, sizeof halves);
}
#endif

// Every lane the sum, or the maximum, over all lanes whose numbers are the same modulo `period`.
template <class Join>
inline Floats across(Floats v, int period, Join join) {
    Ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    for (int by = LANES / 2; by >= period; by /= 2) v = join(v, __builtin_shuffle(v, (lane + by) & (LANES - 1)));
    return v;
}

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

inline Floats total(Floats v, int period = 1) {
    return across(v, period, [](Floats a, Floats b) { return a + b; });
}

inline Floats largest(Floats v) { return across(v, 1, larger); }

// e^x of x <= 88, to an ulp or two (Cephes' expf); 0 below -87.
inline Floats exp(Floats x) {
    const Floats round = all(12582912.0f);  // 1.5 * 2^23: adding it leaves whole numbers
    Floats shifted = x * 1.44269504088896341f + round;
    Floats n = shifted - round;
    Floats r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    Floats p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Ints power = ((Ints)shifted - (Ints)round + 127) << 23;
    return x < -87.0f ? Floats{} : p * (Floats)power;
}

// x / 2 * (1 + erf(x / sqrt 2)); erf by Abramowitz and Stegun 7.1.26, as torch has it.
inline Floats gelu(Floats x) {
    Floats z = x * 0.70710678118654752f;
    Floats magnitude = z < 0.0f ? -z : z;
    Floats t = 1.0f / (magnitude * 0.3275911f + 1.0f);
    Floats p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    Floats erf = 1.0f - p * t * exp(-z * z);
    return x * 0.5f * (1.0f + (z < 0.0f ? -erf : erf));
}
