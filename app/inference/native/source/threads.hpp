// Threads that stay, one more for each part but the caller's own.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

// Waits until it is no longer `seen`, at first without sleeping: steps follow each other closely.
inline void wait_for_change(std::atomic<uint32_t>& value, uint32_t seen) {
    auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(200);
    do {
        for (int i = 0; i < 64; i++) {
            if (value.load() != seen) return;
            __builtin_ia32_pause();
        }
        std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < until);
    value.wait(seen);
}

// Leaves a processor to the thread that runs there, if there is another: woken where its caller runs, a thread would go
// on when that one is done, every time anew.
inline void leave(int processor, cpu_set_t others) {
    CPU_CLR(processor, &others);
    if (CPU_COUNT(&others)) sched_setaffinity(0, sizeof others, &others);
}

class Worker {
    std::atomic<uint32_t> turn{0}, done{0};
    const std::function<void(int64_t)>* work = nullptr;
    int64_t part = 0;
    int caller = -1;  // the processor it runs on
    cpu_set_t allowed;
    std::thread thread;

  public:
    Worker() : thread([this] { run(); }) { thread.detach(); }

    void start(const std::function<void(int64_t)>& what, int64_t which) {
        work = &what;
        part = which;
        caller = sched_getcpu();
        turn.fetch_add(1);
        turn.notify_one();
    }

    void wait() {
        uint32_t now = turn.load();
        for (uint32_t seen; (seen = done.load()) != now;) wait_for_change(done, seen);
    }

  private:
    void run() {
        if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
        for (uint32_t seen = 0;; seen++) {
            wait_for_change(turn, seen);
            if (sched_getcpu() == caller) leave(caller, allowed);
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
