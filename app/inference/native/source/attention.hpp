// Attention of few queries: of a beam over what its ancestors wrote, of a study's beams over its memory.
#pragma once

#include <vector>

#include "products.hpp"

// A beam's past in the cache [slots, 2, width]: at each position the keys and values that its ancestor wrote.
template <class Number>
struct History {
    Number* cache;
    const int64_t* ancestors;
    int64_t position, beams, beam, width;

    Number* at(int64_t t) const { return cache + (t * beams + (t == position ? beam : ancestors[t])) * 2 * width; }
};

// A study's keys and values, packed as weights are, and what is added to scores of its positions.
template <class Number>
struct Memory {
    const Number *keys, *values;
    const float* bias;
    int64_t positions, reach;
};

template <class M>
class Attention {
    typedef typename M::Number Number;
    std::vector<float> scores;
    std::vector<Number> weights;

  public:
    // Heads are interleaved: a key's products with the query, summed over the lanes of one head, are the scores of all
    // heads at once. Takes queries, keys and values f32[3, width], and keeps the latter two.
    void over(const History<Number>& history, const float* projected, float scale, int64_t heads, Number* out) {
        int64_t width = history.width, steps = history.position + 1;
        Number* own = history.at(history.position);
        for (int64_t i = 0; i < 2 * width; i += LANES) store(own + i, load(projected + width + i));
        scores.resize(std::max<int64_t>(scores.size(), steps * LANES));
        Floats most = all(-std::numeric_limits<float>::infinity()), sum{};
        for (int64_t t = 0; t < steps; t++) {
            Floats score = total(product(projected, history.at(t), width), int(heads)) * scale;
            store(&scores[t * LANES], score);
            most = larger(score, most);
        }
        for (int64_t t = 0; t < steps; t++) {
            Floats weight = exp(load(&scores[t * LANES]) - most);
            store(&scores[t * LANES], weight);
            sum += weight;
        }
        for (int64_t first = 0; first < width; first += MOST * LANES) {
            if (width - first >= MOST * LANES)
                mix<MOST>(history, first, 1.0f / sum, out);
            else
                for (int64_t i = first; i < width; i += LANES) mix<1>(history, i, 1.0f / sum, out);
        }
    }

    // One head of the queries [beams, stride], which become what is found: a product with its keys, one with its values.
    void over(const Memory<Number>& memory, int64_t head, int64_t width, int64_t beams, int64_t stride,
              Number* queries) {
        constexpr int64_t panel = TILE * LANES;
        int64_t positions = memory.positions, part = head * width * positions;
        int64_t reach = std::min(positions, (memory.reach + panel - 1) / panel * panel);
        scores.resize(std::max<int64_t>(scores.size(), beams * (positions + 1)));
        weights.resize(std::max<int64_t>(weights.size(), beams * positions));
        float* shares = &scores[beams * positions];
        queries += head * width;
        multiply<M>(beams, queries, stride, memory.keys + part, reach, width, width,
                    [&](int64_t row, int64_t column, Floats sums) {
                        store(&scores[row * positions + column], sums + load(memory.bias + column));
                    });
        for (int64_t beam = 0; beam < beams; beam++) {
            const float* row = &scores[beam * positions];
            Floats most = load(row), sum{};
            for (int64_t i = LANES; i < reach; i += LANES) most = larger(load(row + i), most);
            most = largest(most);
            for (int64_t i = 0; i < reach; i += LANES) {
                Floats weight = exp(load(row + i) - most);
                store(&weights[beam * positions + i], weight);
                sum += weight;
            }
            shares[beam] = 1.0f / total(sum)[0];
        }
        multiply<M>(beams, weights.data(), positions, memory.values + part, width, positions, reach,
                    [&](int64_t row, int64_t column, Floats sums) {
                        store(queries + row * stride + column, sums * shares[row]);
                    });
    }

  private:
    static constexpr int MOST = 12;  // vectors of values that are summed together

    static Floats product(const float* query, const Number* key, int64_t width) {
        Floats even{}, odd{};
        int64_t i = 0;
        for (; i + 2 * LANES <= width; i += 2 * LANES) {
            even += load(query + i) * load(key + i);
            odd += load(query + i + LANES) * load(key + i + LANES);
        }
        if (i < width) even += load(query + i) * load(key + i);
        return even + odd;
    }

    template <int VECTORS>
    void mix(const History<Number>& history, int64_t first, Floats share, Number* out) {
        Floats values[VECTORS] = {};
        for (int64_t t = 0; t <= history.position; t++) {
            const Number* value = history.at(t) + history.width + first;
            Floats weight = load(&scores[t * LANES]);
            for (int v = 0; v < VECTORS; v++) values[v] += weight * load(value + v * LANES);
        }
        for (int v = 0; v < VECTORS; v++) store(out + first + v * LANES, values[v] * share);
    }
};
