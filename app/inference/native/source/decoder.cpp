// One step of the decoder for any number of beams: what `PackedDecoder` does in forty calls, in one.
//
// A beam is a row. Rows know nothing of each other: of the cache each reads what its ancestors wrote, and threads take
// rows between them.
#include <cmath>

#include "attention.hpp"
#include "threads.hpp"

extern "C" {

struct Linear {
    const void* weight;  // packed
    const float* bias;
    int64_t in, out;  // multiples of LANES
};

struct Layer {
    Linear self_qkv, self_out, cross_q, cross_out, ff_in, ff_out;
    const float* norms;  // weight and bias of self_norm, cross_norm, ff_norm
};

struct Decoder {
    int64_t layers, width, words;
    // Self-attention's queries, keys and values have the heads interleaved: number i belongs to head i % heads.
    int64_t heads, self_width;
    // Attention to the memory has them one after the other, each filled up to whole vectors.
    int64_t cross_heads, cross_head_width;
    float scale;
    const Layer* layer;
    const float *embedding, *position_embedding, *norm;
    Linear vocabulary;
};

// Studies of one beam width. Tables have a row a study.
struct Batch {
    int64_t studies, beams;
    const int64_t *tokens, *positions, *ancestors;
    int64_t ancestors_stride, ancestors_beam_stride;
    int64_t memory;           // positions, a multiple of LANES
    const void* cross;        // [layers, 2, heads, memory * head width]: keys and values, packed
    const float* cross_bias;  // 0 or -inf
    const int64_t* reach;     // how many positions are in use, or come before one that is
    void* cache;              // [layers, slots, 2, self_width]
    int64_t cache_stride, slots;
    float* logits;  // [studies, beams, words]
};
}

struct Row {
    const Batch* batch;
    int64_t study, beam;
};

template <class M>
class Step {
    typedef typename M::Number Number;
    const Decoder& decoder;
    const Row* rows;
    int64_t count;
    std::vector<float> x, wide;
    std::vector<Number> given, inner;
    Attention<M> attention;

  public:
    Step(const Decoder& decoder, const Row* rows, int64_t count) : decoder(decoder), rows(rows), count(count) {
        const Layer& layer = decoder.layer[0];
        x.resize(count * decoder.width);
        wide.resize(count * std::max(layer.self_qkv.out, layer.cross_q.out));
        given.resize(count * std::max({decoder.width, decoder.self_width, layer.cross_q.out}));
        inner.resize(count * layer.ff_in.out);
    }

    void operator()() {
        embed();
        for (int64_t i = 0; i < decoder.layers; i++) {
            const Layer& layer = decoder.layer[i];
            const float* norms = layer.norms;
            normalise(norms, given.data());
            product(layer.self_qkv, given.data(), wide.data());
            attend_to_history(i);
            add_product(layer.self_out, given.data());
            normalise(norms + 2 * decoder.width, given.data());
            product(layer.cross_q, given.data(), wide.data());
            attend_to_memory(i);
            add_product(layer.cross_out, given.data());
            normalise(norms + 4 * decoder.width, given.data());
            const Linear& in = layer.ff_in;
            multiply<M>(count, given.data(), in.in, (const Number*)in.weight, in.out, in.in, in.in,
                        [&](int64_t row, int64_t column, Floats sums) {
                            store(&inner[row * in.out + column], gelu(sums + load(in.bias + column)));
                        });
            add_product(layer.ff_out, inner.data());
        }
        speak();
    }

  private:
    void embed() {
        for (int64_t row = 0; row < count; row++) {
            const Batch& batch = *rows[row].batch;
            int64_t study = rows[row].study, token = batch.tokens[study * batch.beams + rows[row].beam];
            const float* word = decoder.embedding + token * decoder.width;
            const float* place = decoder.position_embedding + batch.positions[study] * decoder.width;
            for (int64_t i = 0; i < decoder.width; i += LANES)
                store(&x[row * decoder.width + i], load(word + i) + load(place + i));
        }
    }

    template <class To>
    void normalise(const float* norm, To* to) {
        int64_t width = decoder.width;
        for (int64_t row = 0; row < count; row++) {
            const float* from = &x[row * width];
            Floats sum{}, squares{};
            for (int64_t i = 0; i < width; i += LANES) sum += load(from + i);
            Floats mean = total(sum) / float(width);
            for (int64_t i = 0; i < width; i += LANES) {
                Floats off = load(from + i) - mean;
                squares += off * off;
            }
            Floats factor = all(1.0f / std::sqrt(total(squares)[0] / float(width) + 1e-5f));
            for (int64_t i = 0; i < width; i += LANES)
                store(to + row * width + i, (load(from + i) - mean) * factor * load(norm + i) + load(norm + width + i));
        }
    }

    void product(const Linear& linear, const Number* from, float* to) {
        multiply<M>(count, from, linear.in, (const Number*)linear.weight, linear.out, linear.in, linear.in,
                    [&](int64_t row, int64_t column, Floats sums) {
                        store(to + row * linear.out + column, sums + load(linear.bias + column));
                    });
    }

    void add_product(const Linear& linear, const Number* from) {
        multiply<M>(count, from, linear.in, (const Number*)linear.weight, linear.out, linear.in, linear.in,
                    [&](int64_t row, int64_t column, Floats sums) {
                        float* to = &x[row * linear.out + column];
                        store(to, load(to) + sums + load(linear.bias + column));
                    });
    }

    void attend_to_history(int64_t layer) {
        for (int64_t row = 0; row < count; row++) {
            const Batch& batch = *rows[row].batch;
            int64_t study = rows[row].study, beam = rows[row].beam, width = decoder.self_width;
            Number* cache = (Number*)batch.cache + study * batch.cache_stride + layer * batch.slots * 2 * width;
            History<Number> history{
                cache, batch.ancestors + study * batch.ancestors_stride + beam * batch.ancestors_beam_stride,
                batch.positions[study], batch.beams, beam, width};
            attention.over(history, &wide[row * 3 * width], decoder.scale, decoder.heads, &given[row * width]);
        }
    }

    // Beams of a study share its memory.
    void attend_to_memory(int64_t layer) {
        int64_t width = decoder.cross_heads * decoder.cross_head_width;
        for (int64_t i = 0; i < count * width; i += LANES) store(&given[i], load(&wide[i]) * decoder.scale);
        for (int64_t first = 0, next; first < count; first = next) {
            const Row& row = rows[first];
            for (next = first + 1; next < count && rows[next].batch == row.batch && rows[next].study == row.study;) next++;
            const Batch& batch = *row.batch;
            int64_t part = width * batch.memory, at = (row.study * decoder.layers + layer) * 2 * part;
            Memory<Number> memory{(const Number*)batch.cross + at, (const Number*)batch.cross + at + part,
                                  batch.cross_bias + row.study * batch.memory, batch.memory,
                                  batch.reach[row.study]};
            for (int64_t head = 0; head < decoder.cross_heads; head++)
                attention.over(memory, head, decoder.cross_head_width, next - first, width, &given[first * width]);
        }
    }

    void speak() {
        const Linear& linear = decoder.vocabulary;
        normalise(decoder.norm, wide.data());
        multiply<Exact>(count, wide.data(), linear.in, (const float*)linear.weight, linear.out, linear.in, linear.in,
                        [&](int64_t row, int64_t column, Floats sums) {
                            const Row& one = rows[row];
                            float* logits = one.batch->logits + (one.study * one.batch->beams + one.beam) * decoder.words;
                            sums += load(linear.bias + column);
                            if (column + LANES <= decoder.words)
                                store(logits + column, sums);
                            else
                                std::memcpy(logits + column, &sums, (decoder.words - column) * sizeof(float));
                        });
    }
};

extern "C" {

// Counts the changes of what library.py has to know: what was built of other sources is not loaded.
int64_t interface_version() { return 1; }

int64_t lanes() { return LANES; }

void step(const Decoder* decoder, const Batch* batches, int64_t count, [[maybe_unused]] int64_t bfloat16,
          int64_t threads) {
    std::vector<Row> rows;
    for (const Batch* batch = batches; batch < batches + count; batch++)
        for (int64_t study = 0; study < batch->studies; study++)
            for (int64_t beam = 0; beam < batch->beams; beam++) rows.push_back({batch, study, beam});
    int64_t all = rows.size(), parts = std::max<int64_t>(1, std::min(threads, all / 4));
    in_parts(parts, [&](int64_t part) {
        int64_t first = all * part / parts, last = all * (part + 1) / parts;
#if defined(__AVX512BF16__)
        if (bfloat16) return Step<Fast>(*decoder, &rows[first], last - first)();
#endif
        Step<Exact>(*decoder, &rows[first], last - first)();
    });
}
}
