#include "io/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>

namespace terracefs::io {
namespace {

// Holds threads up until it is opened.
class Gate {
 public:
  void Pass() {
    MutexLock lock(mutex_);
    ++waiting_count_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mutex_);
  }
  void AwaitWaiting(int count) {
    MutexLock lock(mutex_);
    while (waiting_count_ < count) changed_.Wait(mutex_);
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int waiting_count_ GUARDED_BY(mutex_) = 0;
  bool open_ GUARDED_BY(mutex_) = false;
};

TEST(ThreadPoolTest, RunsEverythingOnceAndDrainWaitsForIt) {
  ThreadPool pool("test", 4, 8);
  std::atomic<int> run_count{0};
  for (int round = 1; round <= 5; ++round) {
    for (int i = 0; i < 200; ++i) pool.Submit([&] { ++run_count; });
    pool.Drain();
    EXPECT_EQ(run_count, round * 200);
  }
}

TEST(ThreadPoolTest, DestructorRunsWhatIsQueued) {
  std::atomic<int> run_count{0};
  Gate gate;
  {
    ThreadPool pool("test", 1, 100);
    pool.Submit([&] { gate.Pass(); });
    for (int i = 0; i < 50; ++i) pool.Submit([&] { ++run_count; });
    gate.Open();
  }
  EXPECT_EQ(run_count, 50);
}

TEST(ThreadPoolTest, AFullQueueHoldsUpTheSubmitter) {
  ThreadPool pool("test", 1, 2);
  Gate gate;
  pool.Submit([&] { gate.Pass(); });
  gate.AwaitWaiting(1);
  pool.Submit([] {});
  pool.Submit([] {});
  std::atomic<bool> submitted{false};
  std::atomic<bool> open{false};
  std::atomic<bool> too_early{false};
  std::thread submitter([&] {
    pool.Submit([] {});
    if (!open) too_early = true;
    submitted = true;
  });
  std::this_thread::yield();
  open = true;
  gate.Open();
  submitter.join();
  EXPECT_TRUE(submitted);
  EXPECT_FALSE(too_early);
}

TEST(ThreadPoolTest, AllThreadsWorkAtOnceAndHaveNames) {
  ThreadPool pool("a_very_long_pool_name", 3, 8);
  Gate gate;
  Mutex mutex;
  std::set<std::string> names;
  for (int i = 0; i < 3; ++i) {
    pool.Submit([&] {
      char name[16] = {};
      pthread_getname_np(pthread_self(), name, sizeof name);
      {
        MutexLock lock(mutex);
        names.insert(name);
      }
      gate.Pass();
    });
  }
  gate.AwaitWaiting(3);
  gate.Open();
  pool.Drain();
  EXPECT_EQ(names, (std::set<std::string>{"a_very_long_0", "a_very_long_1", "a_very_long_2"}));
}

TEST(ThreadPoolTest, OnlyTheCallingThreadBecomesNicer) {
  const auto nice = [] { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); };
  const int before = nice();
  int inside = 0;
  std::thread thread([&] {
    SetThreadNice(before + 3);
    inside = nice();
  });
  thread.join();
  EXPECT_EQ(inside, std::min(before + 3, 19));
  EXPECT_EQ(nice(), before);
}

TEST(ThreadPoolTest, WhatTheWorkHoldsIsLetGoBeforeDrainReturns) {
  ThreadPool pool("test", 2, 8);
  for (int i = 0; i < 100; ++i) {
    auto held = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = held;
    pool.Submit([held = std::move(held)] {});
    pool.Drain();
    EXPECT_TRUE(watch.expired());
  }
}

}  // namespace
}  // namespace terracefs::io
