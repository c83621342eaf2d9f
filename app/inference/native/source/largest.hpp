// The largest of many numbers as torch's `topk` finds them on a CPU: of equal ones it takes the same, in the same order,
// for it is made of the same algorithms of the standard library.
#pragma once

#include <algorithm>
#include <vector>

#include "simd.hpp"

struct Candidate {
    float value;
    int64_t index;
};

// What is not a number counts as the largest.
inline bool before(const Candidate& a, const Candidate& b) {
    return (a.value != a.value && b.value == b.value) || a.value > b.value;
}

// Puts the largest `wanted` in front, in order. torch takes the other way where `wanted` * 64 <= count.
inline void largest_of(Candidate* candidates, int64_t count, int64_t wanted) {
    std::nth_element(candidates, candidates + wanted - 1, candidates + count, before);
    std::sort(candidates, candidates + wanted - 1, before);
}

// The largest `wanted` of `rows` rows of `columns` numbers, `stride` apart (a multiple of LANES, -inf beyond the
// columns), to each of which the row's own is added. An index counts rows * columns; `best` has room for one more.
inline void largest_of_rows(const float* numbers, int64_t stride, int64_t columns, const float* added, int64_t rows,
                            int64_t wanted, Candidate* best) {
    if (wanted * 64 > rows * columns) {
        std::vector<Candidate> every;
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < columns; i++)
                every.push_back({numbers[row * stride + i] + added[row], row * columns + i});
        largest_of(every.data(), int64_t(every.size()), wanted);
        std::copy_n(every.begin(), wanted, best);
        return;
    }
    // `partial_sort`: a heap of those so far, least first, into which what is larger than the least comes.
    int64_t held = 0;
    auto offer = [&](Candidate one) {
        if (held < wanted) {
            best[held++] = one;
            if (held == wanted) std::make_heap(best, best + wanted, before);
        } else if (before(one, best[0])) {
            best[wanted] = one;
            std::pop_heap(best, best + wanted + 1, before);
        }
    };
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < columns; i += LANES) {
            Floats values = load(numbers + row * stride + i) + added[row];
            if (held == wanted) {
                Ints tried = !(values <= best[0].value);
                Ints none{};
                if (!std::memcmp(&tried, &none, sizeof none)) continue;
            }
            for (int64_t j = i; j < std::min(columns, i + LANES); j++) offer({values[j - i], row * columns + j});
        }
    std::sort_heap(best, best + wanted, before);
}
