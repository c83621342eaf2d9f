// Threads that stay, one more for each part but the caller's own.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

class Worker {
    std::atomic<uint32_t> turn{0}, done{0};
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
        uint32_t now = turn.load();
        for (uint32_t seen; (seen = done.load()) != now;) done.wait(seen);
    }

  private:
    void run() {
        for (uint32_t seen = 0;; seen++) {
            turn.wait(seen);
            (*work)(part);
            done.fetch_add(1);
            done.notify_one();
        }
    }
};

struct Workers {
    std::mutex busy;
    std::vector<std::unique_ptr<Worker>> every;
};

// Does `work(part)` for each part, one in this thread. Who asks meanwhile waits.
inline void in_parts(int64_t parts, const std::function<void(int64_t)>& work) {
    // Never destroyed, for the threads wait in it; a forked process has none of them and begins anew.
    static Workers* workers = [] {
        pthread_atfork(nullptr, nullptr, [] { workers = new Workers; });
        return new Workers;
    }();
    if (parts == 1) return work(0);
    std::lock_guard<std::mutex> lock(workers->busy);
    auto& every = workers->every;
    while (int64_t(every.size()) < parts - 1) every.push_back(std::make_unique<Worker>());
    for (int64_t part = 1; part < parts; part++) every[part - 1]->start(work, part);
    work(0);
    for (int64_t part = 1; part < parts; part++) every[part - 1]->wait();
}
