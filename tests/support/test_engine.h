#pragma once

#include <memory>

#include "lsm/db.h"
#include "lsm/options.h"
#include "tests/support/memory_db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::testing {

// An engine for tests of the filesystem that can be stopped and started again: a MemoryDb, or the
// real one on a SimStorage. Failures to open are CHECKs.
class TestEngine {
 public:
  static std::unique_ptr<TestEngine> Memory();
  static std::unique_ptr<TestEngine> Real(const lsm::Options& options);

  lsm::Db& db() { return *db_; }
  MemoryDb* memory() { return memory_; }  // null for the real one

  // Closes and opens again. Nobody may use db() meanwhile.
  void Restart();
  // The engine as it comes back after a power cut that loses everything not synced (the MemoryDb
  // syncs always). The old one goes on until the returned object is adopted.
  std::unique_ptr<TestEngine> AfterCrash(uint64_t seed, CrashMode mode) const;

 private:
  TestEngine() = default;
  void Open();

  lsm::Options options_;
  std::unique_ptr<SimStorage> storage_;
  std::unique_ptr<lsm::Db> db_;
  MemoryDb* memory_ = nullptr;
};

}  // namespace terracefs::testing
