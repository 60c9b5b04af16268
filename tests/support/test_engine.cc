#include "tests/support/test_engine.h"

#include <cstdio>
#include <utility>

#include "fs/file_system.h"
#include "io/base/check.h"

namespace terracefs::testing {

std::unique_ptr<TestEngine> TestEngine::Memory() {
  std::unique_ptr<TestEngine> engine(new TestEngine);
  auto db = std::make_unique<MemoryDb>();
  engine->memory_ = db.get();
  engine->db_ = std::move(db);
  return engine;
}

std::unique_ptr<TestEngine> TestEngine::Real(const lsm::Options& options) {
  std::unique_ptr<TestEngine> engine(new TestEngine);
  engine->options_ = options;
  fs::FileSystem::ConfigureEngine(&engine->options_);
  engine->storage_ = std::make_unique<SimStorage>();
  CHECK(lsm::Db::Create(engine->options_, *engine->storage_).ok());
  engine->Open();
  return engine;
}

void TestEngine::Open() {
  auto db = lsm::Db::Open(options_, *storage_);
  if (!db.ok()) std::fprintf(stderr, "open: %s\n", db.status().ToString().c_str());
  CHECK(db.ok());
  db_ = std::move(db).value();
}

void TestEngine::Restart() {
  if (memory_ != nullptr) {
    auto clone = memory_->Clone();
    memory_ = clone.get();
    db_ = std::move(clone);
    return;
  }
  CHECK(db_->Close().ok());
  db_.reset();
  Open();
}

std::unique_ptr<TestEngine> TestEngine::AfterCrash(uint64_t seed, CrashMode mode) const {
  std::unique_ptr<TestEngine> engine(new TestEngine);
  if (memory_ != nullptr) {
    auto clone = memory_->Clone();
    engine->memory_ = clone.get();
    engine->db_ = std::move(clone);
    return engine;
  }
  engine->options_ = options_;
  engine->storage_ = storage_->CrashClone(seed, mode);
  engine->Open();
  return engine;
}

}  // namespace terracefs::testing
