// Matrix products of a few rows with weights packed for them. A row's result depends on that row alone: each sum is
// taken in one order, however many rows there are.
#pragma once

#include <algorithm>

#include "simd.hpp"

constexpr int TILE = 3;  // vectors of columns of a packed panel; the last may have fewer

// What is multiplied: of floats one at a time, of bfloat16 two.
struct Exact {
    typedef float Number;
    typedef float Group;
    static constexpr int GROUP = 1;
    static inline Floats add_product(Floats sum, float x, Floats w) { return sum + x * w; }
    static inline Floats weights(const float* from) { return load(from); }
};

#if defined(__AVX512BF16__)
struct Fast {
    typedef uint16_t Number;
    typedef int32_t Group;
    static constexpr int GROUP = 2;
    static inline Floats add_product(Floats sum, int32_t x, Floats w) {
        return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(x), (__m512bh)w);
    }
    static inline Floats weights(const uint16_t* from) {
        Floats v;
        std::memcpy(&v, from, sizeof v);
        return v;
    }
};
#endif

// `put(row, column, sums)` takes each vector of a product of `ROWS` rows, `stride` numbers apart, with a panel.
template <class M, int ROWS, int VECTORS, class Put>
inline void multiply_tile(const typename M::Number* x, int64_t stride, const typename M::Number* weight, int64_t depth,
                          Put put) {
    Floats sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) sums[r][v] = Floats{};
    for (int64_t k = 0; k < depth; k += M::GROUP, weight += VECTORS * LANES * M::GROUP) {
        Floats w[VECTORS];
        for (int v = 0; v < VECTORS; v++) w[v] = M::weights(weight + v * LANES * M::GROUP);
        for (int r = 0; r < ROWS; r++) {
            typename M::Group group;
            std::memcpy(&group, x + r * stride + k, sizeof group);
            for (int v = 0; v < VECTORS; v++) sums[r][v] = M::add_product(sums[r][v], group, w[v]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) put(r, v * LANES, sums[r][v]);
}

template <class M, int VECTORS, int ROWS = TILE_ROWS, class Put>
inline void multiply_rows(int rows, const typename M::Number* x, int64_t stride, const typename M::Number* weight,
                          int64_t depth, Put put) {
    if (rows == ROWS)
        multiply_tile<M, ROWS, VECTORS>(x, stride, weight, depth, put);
    else if constexpr (ROWS > 1)
        multiply_rows<M, VECTORS, ROWS - 1>(rows, x, stride, weight, depth, put);
}

// Product of `rows` rows with a weight of `columns` columns (a multiple of LANES), whose panels are `height` deep and
// of which the first `depth` count.
template <class M, class Put>
inline void multiply(int64_t rows, const typename M::Number* x, int64_t stride, const typename M::Number* weight,
                     int64_t columns, int64_t height, int64_t depth, Put put) {
    int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t column = 0; column < columns; column += TILE * LANES) {
        const typename M::Number* panel = weight + column * height;
        int64_t vectors = std::min<int64_t>(TILE, (columns - column) / LANES);
        for (int64_t tile = 0; tile < tiles; tile++) {
            int64_t first = rows * tile / tiles;
            int count = int(rows * (tile + 1) / tiles - first);
            const typename M::Number* from = x + first * stride;
            auto put_there = [&](int row, int within, Floats sums) { put(first + row, column + within, sums); };
            if (vectors == 3)
                multiply_rows<M, 3>(count, from, stride, panel, depth, put_there);
            else if (vectors == 2)
                multiply_rows<M, 2>(count, from, stride, panel, depth, put_there);
            else
                multiply_rows<M, 1>(count, from, stride, panel, depth, put_there);
        }
    }
}
