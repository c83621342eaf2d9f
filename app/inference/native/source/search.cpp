// One step of the beam search of studies of one width: what `BeamSearch` does as a tensor program, study by study.
//
// Names and semantics are those of `app/inference/search`; where candidates tie, so are torch's choices.
#include <cmath>

#include "largest.hpp"
#include "simd.hpp"

extern "C" {

// The tables of `BeamTables`; flags are bytes, whole numbers 64 bits wide.
struct Tables {
    int64_t beams, length;  // of a row of tokens
    int64_t end_of_text;
    float never;  // what is added to what ends
    int64_t *tokens, *parents, *ancestors;
    float *log_probs, *scores;
    uint8_t* done;
    float* done_scores;
    int64_t *done_lengths, *done_tokens;
    float* done_log_probs;
    int64_t* done_parents;
    uint8_t *finished, *non_finite;
    int64_t* positions;
    double* length_penalty;
    float* never_of_study;
    int64_t *max_new_tokens, *min_new_tokens;
    uint8_t *stop_when_full, *hope_to_the_end;
    float* repetition_penalty;
    int64_t* no_repeat_ngram_size;
};
}

constexpr float NOTHING = -std::numeric_limits<float>::infinity();
constexpr int MOST_BEAMS = 8;

class Study {
    const Tables& tables;
    const int64_t study, beams, length, vocabulary, stride;
    std::vector<float>& processed;  // [beams, stride]: what options make of log-probabilities
    std::vector<int64_t>& past;

  public:
    Study(const Tables& tables, int64_t study, int64_t vocabulary, std::vector<float>& processed,
          std::vector<int64_t>& past)
        : tables(tables), study(study), beams(tables.beams), length(tables.positions[study] + 1),
          vocabulary(vocabulary), stride(int64_t(processed.size()) / beams), processed(processed), past(past) {}

    void choose(const float* logits, const float* log_probs) {
        bool ends = beams == 1 ? advance_greedily(logits, log_probs) : advance_beams(log_probs);
        tables.finished[study] |= ends;
        tables.positions[study] = std::min(length, tables.length - 2);
    }

  private:
    float* row(int64_t beam) { return &processed[beam * stride]; }
    int64_t beam_at(int64_t beam) const { return study * beams + beam; }
    int64_t at(int64_t beam, int64_t position) const { return beam_at(beam) * tables.length + position; }
    float penalty(int64_t of) const { return float(std::pow(double(of), tables.length_penalty[study])); }

    // What options make of the scores f32[V] of a beam.
    void process(const float* scores, int64_t beam) {
        std::copy_n(scores, vocabulary, row(beam));
        std::fill(row(beam) + vocabulary, row(beam) + stride, NOTHING);
        float factor = tables.repetition_penalty[study];
        int64_t size = tables.no_repeat_ngram_size[study];
        if (factor != 1.0f || size > 0) read_past(beam);
        if (factor != 1.0f) penalise(row(beam), factor);
        if (size > 0 && size <= length) forbid_repeats(row(beam), size);
        if (length <= tables.min_new_tokens[study]) row(beam)[tables.end_of_text] = NOTHING;
    }

    void read_past(int64_t beam) {
        past.resize(length);
        for (int64_t t = 0; t < length; t++) past[t] = tables.tokens[at(tables.ancestors[at(beam, t)], t)];
    }

    // Each word once, however often it was written; all of them from the scores as they were.
    void penalise(float* scores, float factor) {
        std::vector<int64_t> words(past);
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        for (int64_t word : words) scores[word] = scores[word] < 0 ? scores[word] * factor : scores[word] / factor;
    }

    void forbid_repeats(float* scores, int64_t size) {
        const int64_t* latest = past.data() + length - (size - 1);
        for (int64_t start = 0; start + size <= length; start++)
            if (std::equal(latest, latest + size - 1, past.data() + start)) scores[past[start + size - 1]] = NOTHING;
    }

    // The options see logits; the first of equal maxima wins.
    bool advance_greedily(const float* logits, const float* log_probs) {
        process(logits, 0);
        int64_t chosen = std::max_element(row(0), row(0) + vocabulary) - row(0);
        float log_prob = log_probs[chosen];
        tables.non_finite[study] |= std::isnan(log_prob);
        tables.scores[study] += log_prob;
        tables.tokens[at(0, length)] = chosen;
        tables.log_probs[at(0, length)] = log_prob;
        tables.parents[at(0, length)] = tables.ancestors[at(0, length)] = 0;
        bool ends = chosen == tables.end_of_text || length >= tables.max_new_tokens[study];
        if (ends && !tables.finished[study]) {
            tables.done_scores[study] = tables.scores[study] / penalty(length);
            tables.done_lengths[study] = length;
            tables.done_tokens[study] = chosen;
            tables.done_log_probs[study] = log_prob;
        }
        return ends;
    }

    bool advance_beams(const float* log_probs) {
        for (int64_t beam = 0; beam < beams; beam++) process(log_probs + beam * vocabulary, beam);
        // Twice the beams: even when the best `beams` all end, as many remain to go on.
        Candidate best[2 * MOST_BEAMS + 1];
        largest_of_rows(processed.data(), stride, vocabulary, &tables.scores[beam_at(0)], beams, 2 * beams, best);
        tables.non_finite[study] |= std::isnan(best[0].value);
        bool ends[2 * MOST_BEAMS], some_done = false, all_end = true;
        Candidate open[2 * MOST_BEAMS];
        for (int64_t i = 0; i < 2 * beams; i++) {
            ends[i] = best[i].index % vocabulary == tables.end_of_text || length >= tables.max_new_tokens[study];
            some_done |= ends[i] && i < beams;
            all_end &= ends[i];
            open[i] = {best[i].value + (ends[i] ? tables.never : 0.0f), i};
        }
        if (some_done && !tables.finished[study]) merge_finished(best, ends);
        largest_of(open, 2 * beams, beams);
        write(best, open);
        return all_end || nothing_can_win();
    }

    void merge_finished(const Candidate* best, const bool* ends) {
        int64_t own = beam_at(0);
        Candidate merged[3 * MOST_BEAMS];
        for (int64_t i = 0; i < beams; i++) merged[i] = {tables.done_scores[own + i], i};
        for (int64_t i = 0; i < 2 * beams; i++) {
            bool done = ends[i] && i < beams;  // only the first may end a sequence
            merged[beams + i] = {best[i].value / penalty(length) + (done ? 0.0f : tables.never_of_study[study]),
                                 beams + i};
        }
        largest_of(merged, 3 * beams, beams);
        struct Done {
            uint8_t done;
            int64_t length, token;
            float log_prob;
            int64_t parent;
        } kept[MOST_BEAMS];
        for (int64_t rank = 0; rank < beams; rank++) {
            int64_t i = merged[rank].index;
            if (i < beams) {
                kept[rank] = {tables.done[own + i], tables.done_lengths[own + i], tables.done_tokens[own + i],
                              tables.done_log_probs[own + i], tables.done_parents[own + i]};
                continue;
            }
            int64_t flat = best[i -= beams].index, parent = flat / vocabulary, token = flat % vocabulary;
            kept[rank] = {uint8_t(ends[i] && i < beams), length, token, row(parent)[token], parent};
        }
        for (int64_t rank = 0; rank < beams; rank++) {
            tables.done[own + rank] = kept[rank].done;
            tables.done_scores[own + rank] = merged[rank].value;
            tables.done_lengths[own + rank] = kept[rank].length;
            tables.done_tokens[own + rank] = kept[rank].token;
            tables.done_log_probs[own + rank] = kept[rank].log_prob;
            tables.done_parents[own + rank] = kept[rank].parent;
        }
    }

    // A beam takes its parent's past and adds itself.
    void write(const Candidate* best, const Candidate* open) {
        past.resize(beams * length);
        for (int64_t beam = 0; beam < beams; beam++) {
            int64_t flat = best[open[beam].index].index, parent = flat / vocabulary, token = flat % vocabulary;
            tables.scores[beam_at(beam)] = open[beam].value;
            tables.tokens[at(beam, length)] = token;
            tables.log_probs[at(beam, length)] = row(parent)[token];
            tables.parents[at(beam, length)] = parent;
            std::copy_n(&tables.ancestors[at(parent, 0)], length, &past[beam * length]);
        }
        for (int64_t beam = 0; beam < beams; beam++) {
            std::copy_n(&past[beam * length], length, &tables.ancestors[at(beam, 0)]);
            tables.ancestors[at(beam, length)] = beam;
        }
    }

    bool nothing_can_win() const {
        const uint8_t* done = &tables.done[beam_at(0)];
        const float* done_scores = &tables.done_scores[beam_at(0)];
        bool full = std::all_of(done, done + beams, [](uint8_t one) { return one; });
        float worst = full ? *std::min_element(done_scores, done_scores + beams) : tables.never_of_study[study];
        int64_t hoped = tables.hope_to_the_end[study] ? tables.max_new_tokens[study] : length;
        return tables.scores[beam_at(0)] / penalty(hoped) <= worst || (full && tables.stop_when_full[study]);
    }
};

// Logits and log-probabilities f32[studies, beams, vocabulary]: torch's, for its roundings decide between equals.
extern "C" void choose(const Tables* tables, int64_t studies, const float* logits, const float* log_probs,
                       int64_t vocabulary) {
    std::vector<float> processed(tables->beams * ((vocabulary + LANES - 1) / LANES * LANES));
    std::vector<int64_t> past;
    for (int64_t study = 0; study < studies; study++) {
        int64_t first = study * tables->beams * vocabulary;
        Study(*tables, study, vocabulary, processed, past).choose(logits + first, log_probs + first);
    }
}
