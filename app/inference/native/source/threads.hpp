// Threads that stay, one more for each part but the caller's own.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

class Worker {
    std::atomic<int> turn{0}, done{0};
    const std::function<void(int64_t)>* work = nullptr;
    int64_t part = 0;
    std::thread thread;

  public:
    Worker() : thread([this] { run(); }) { thread.detach(); }

    void start(const std::function<void(int64_t)>& what, int64_t which) {
        work = &what;
        part = which;
        turn.fetch_add(1);
        turn.notify_one();
    }

    void wait() {
        int now = turn.load();
        for (int seen; (seen = done.load()) != now;) done.wait(seen);
    }

  private:
    void run() {
        for (int seen = 0;; seen++) {
            turn.wait(seen);
            (*work)(part);
            done.fetch_add(1);
            done.notify_one();
        }
    }
};

inline void in_parts(int64_t parts, const std::function<void(int64_t)>& work) {
    static std::mutex busy;
    static std::vector<std::unique_ptr<Worker>>* workers = new std::vector<std::unique_ptr<Worker>>;
    if (parts == 1) return work(0);
    std::lock_guard<std::mutex> lock(busy);
    while (int64_t(workers->size()) < parts - 1) workers->push_back(std::make_unique<Worker>());
    for (int64_t part = 1; part < parts; part++) (*workers)[part - 1]->start(work, part);
    work(0);
    for (int64_t part = 1; part < parts; part++) (*workers)[part - 1]->wait();
}
