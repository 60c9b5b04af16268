#include "fs/control/jobs.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/support/scripted_compaction_db.h"

namespace terracefs::fs {
namespace {

using testing::ScriptedCompactionDb;
using Progress = ScriptedCompactionDb::Progress;

JobReport WaitForEnd(const Jobs& jobs, uint64_t id) {
  for (;;) {
    std::optional<JobReport> report = jobs.Find(id);
    if (!report) return {};
    if (report->state != JobState::kRunning) return *report;
    std::this_thread::yield();
  }
}

// Runs until it is cancelled.
io::Status Endless(lsm::JobControl& control, const Progress&) {
  while (!control.cancelled()) std::this_thread::yield();
  return io::Status::Cancelled();
}

TEST(JobsTest, PassesAndBytesAreReported) {
  io::ManualClock clock(1000);
  ScriptedCompactionDb* self = nullptr;
  ScriptedCompactionDb db([&](lsm::JobControl&, const Progress& progress) {
    progress({"flush", 0, 2, 50, 100, 0, 10});
    clock.AdvanceNs(5);
    progress({"flush", 0, 2, 100, 100, 0, 20});
    clock.AdvanceNs(7);
    progress({"level 0", 1, 2, 0, 300, 0, 20});
    clock.AdvanceNs(11);
    progress({"level 0", 1, 2, 300, 300, 300, 220});
    self->live_table_bytes = 400;
    return io::Status::Ok();
  });
  self = &db;
  db.live_table_bytes = 1000;
  Jobs jobs(db, clock);
  const io::Result<uint64_t> id = jobs.StartCompaction({});
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(*id, 1u);
  const JobReport report = WaitForEnd(jobs, *id);
  EXPECT_EQ(report.state, JobState::kDone);
  EXPECT_EQ(report.bytes_read, 300u);
  EXPECT_EQ(report.bytes_written, 220u);
  EXPECT_EQ(report.bytes_reclaimed, 600u);
  EXPECT_EQ(report.nanoseconds, 23u);
  ASSERT_EQ(report.passes.size(), 2u);
  EXPECT_EQ(report.passes[0].name, "flush");
  EXPECT_EQ(report.passes[0].bytes_written, 20u);
  EXPECT_EQ(report.passes[0].nanoseconds, 12u);
  EXPECT_EQ(report.passes[1].name, "level 0");
  EXPECT_EQ(report.passes[1].bytes_read, 300u);
  EXPECT_EQ(report.passes[1].bytes_written, 200u);
  EXPECT_EQ(report.passes[1].nanoseconds, 11u);
}

TEST(JobsTest, GrowthIsNotNegativeReclaim) {
  ScriptedCompactionDb* self = nullptr;
  ScriptedCompactionDb db([&](lsm::JobControl&, const Progress&) {
    self->live_table_bytes = 500;
    return io::Status::Ok();
  });
  self = &db;
  Jobs jobs(db, io::SystemClock());
  EXPECT_EQ(WaitForEnd(jobs, *jobs.StartCompaction({})).bytes_reclaimed, 0u);
}

TEST(JobsTest, FailuresKeepTheirReason) {
  ScriptedCompactionDb db(
      [](lsm::JobControl&, const Progress&) { return io::Status::NoSpace("disk full"); });
  Jobs jobs(db, io::SystemClock());
  const JobReport report = WaitForEnd(jobs, *jobs.StartCompaction({}));
  EXPECT_EQ(report.state, JobState::kFailed);
  EXPECT_NE(report.message.find("disk full"), std::string::npos);
}

TEST(JobsTest, CancelEndsAJob) {
  ScriptedCompactionDb db(Endless);
  Jobs jobs(db, io::SystemClock());
  const uint64_t id = *jobs.StartCompaction({});
  EXPECT_EQ(jobs.Find(id)->state, JobState::kRunning);
  EXPECT_TRUE(jobs.Cancel(id));
  EXPECT_EQ(WaitForEnd(jobs, id).state, JobState::kCancelled);
  EXPECT_TRUE(jobs.Cancel(id)) << "a finished one is no error";
  EXPECT_FALSE(jobs.Cancel(id + 1));
  EXPECT_FALSE(jobs.Find(id + 1).has_value());
}

TEST(JobsTest, SoManyRunAtOnceAndNoMore) {
  ScriptedCompactionDb db(Endless);
  Jobs jobs(db, io::SystemClock());
  for (size_t i = 0; i < kRunningJobsMax; ++i) EXPECT_TRUE(jobs.StartCompaction({}).ok());
  EXPECT_TRUE(jobs.StartCompaction({}).status().Is(io::StatusCode::kBusy));
  jobs.Cancel(1);
  WaitForEnd(jobs, 1);
  EXPECT_TRUE(jobs.StartCompaction({}).ok());
}

TEST(JobsTest, TheLastOnesAreRemembered) {
  ScriptedCompactionDb db([](lsm::JobControl&, const Progress&) { return io::Status::Ok(); });
  Jobs jobs(db, io::SystemClock());
  EXPECT_FALSE(jobs.Find(0).has_value());
  uint64_t newest = 0;
  for (size_t i = 0; i < 2 * kFinishedJobsMax; ++i) {
    newest = *jobs.StartCompaction({});
    WaitForEnd(jobs, newest);
  }
  EXPECT_EQ(jobs.Find(0)->id, newest);
  EXPECT_FALSE(jobs.Find(1).has_value());
  EXPECT_TRUE(jobs.Find(newest - kFinishedJobsMax + 1).has_value());
}

TEST(JobsTest, ShutdownCancelsWhatRunsAndRefusesMore) {
  ScriptedCompactionDb db(Endless);
  Jobs jobs(db, io::SystemClock());
  ASSERT_TRUE(jobs.StartCompaction({}).ok());
  jobs.Shutdown();
  EXPECT_TRUE(jobs.StartCompaction({}).status().Is(io::StatusCode::kShuttingDown));
  jobs.Shutdown();
}

}  // namespace
}  // namespace terracefs::fs
