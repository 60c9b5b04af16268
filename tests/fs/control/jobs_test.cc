#include "fs/control/jobs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "fs/file_system.h"
#include "tests/support/scripted_compaction_db.h"

namespace terracefs::fs {
namespace {

using testing::ScriptedCompactionDb;
using Progress = ScriptedCompactionDb::Progress;

JobReport WaitForEnd(const Jobs& jobs, uint64_t id) {
  for (;;) {
    std::optional<JobReport> report = jobs.Find(id);
    if (!report) return {};
    if (report->state != JobState::kRunning && report->state != JobState::kPaused) return *report;
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

TEST(JobsTest, WhatAFlushAddsIsNotHeldAgainstTheCompaction) {
  ScriptedCompactionDb* self = nullptr;
  ScriptedCompactionDb db([&](lsm::JobControl&, const Progress& progress) {
    progress({"flush", 0, 2, 0, 100, 0, 0});
    self->live_table_bytes = 1300;
    progress({"flush", 0, 2, 100, 100, 0, 300});
    progress({"level 0", 1, 2, 0, 300, 0, 300});
    self->live_table_bytes = 400;
    return io::Status::Ok();
  });
  self = &db;
  db.live_table_bytes = 1000;
  Jobs jobs(db, io::SystemClock());
  EXPECT_EQ(WaitForEnd(jobs, *jobs.StartCompaction({})).bytes_reclaimed, 900u);
}

TEST(JobsTest, WhatValueFilesGiveBackCounts) {
  ScriptedCompactionDb* self = nullptr;
  ScriptedCompactionDb db([&](lsm::JobControl&, const Progress& progress) {
    self->live_table_bytes = 900;
    self->SetSpace({.value_bytes = 2'100, .value_garbage_bytes = 100});
    progress({"value files", 0, 1, 3'000, 3'000, 3'000, 2'200});
    return io::Status::Ok();
  });
  self = &db;
  db.live_table_bytes = 1000;
  db.SetSpace({.value_bytes = 2'000, .value_garbage_bytes = 1'000});
  Jobs jobs(db, io::SystemClock());
  EXPECT_EQ(WaitForEnd(jobs, *jobs.StartCompaction({})).bytes_reclaimed, 900u);
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

TEST(JobsTest, APausedJobStandsStillAndSaysSo) {
  std::atomic<int> steps = 0;
  ScriptedCompactionDb db([&](lsm::JobControl& control, const Progress&) {
    while (!control.cancelled()) {
      control.WaitWhilePaused(std::chrono::hours(1));
      if (!control.paused()) ++steps;
    }
    return io::Status::Cancelled();
  });
  Jobs jobs(db, io::SystemClock());
  const uint64_t id = *jobs.StartCompaction({});
  EXPECT_FALSE(jobs.Pause(id + 1));
  EXPECT_FALSE(jobs.Resume(0));
  ASSERT_TRUE(jobs.Pause(id));
  EXPECT_EQ(jobs.Find(id)->state, JobState::kPaused);
  EXPECT_TRUE(jobs.Pause(id)) << "twice is no error";
  ASSERT_TRUE(jobs.Resume(id));
  EXPECT_EQ(jobs.Find(id)->state, JobState::kRunning);
  const int before = steps;
  while (steps == before) std::this_thread::yield();
  // A paused job can be cancelled, and then it is no longer paused.
  ASSERT_TRUE(jobs.Pause(id));
  ASSERT_TRUE(jobs.Cancel(id));
  EXPECT_EQ(WaitForEnd(jobs, id).state, JobState::kCancelled);
  EXPECT_TRUE(jobs.Pause(id));
  EXPECT_EQ(jobs.Find(id)->state, JobState::kCancelled);
}

TEST(JobsTest, ShutdownEndsPausedJobs) {
  ScriptedCompactionDb db([](lsm::JobControl& control, const Progress&) {
    while (!control.cancelled()) control.WaitWhilePaused(std::chrono::hours(1));
    return io::Status::Cancelled();
  });
  Jobs jobs(db, io::SystemClock());
  ASSERT_TRUE(jobs.Pause(*jobs.StartCompaction({})));
  jobs.Shutdown();
}

TEST(JobsTest, ADryRunReportsTheEstimateAndCompactsNothing) {
  ScriptedCompactionDb db([](lsm::JobControl&, const Progress&) {
    ADD_FAILURE() << "a dry run compacted";
    return io::Status::Ok();
  });
  db.live_table_bytes = 1000;
  db.estimate = {.passes = {{"flush", 0, 10}, {"level 1", 200, 150}},
                 .bytes_read = 200,
                 .bytes_written = 160,
                 .bytes_reclaimed = 50};
  Jobs jobs(db, io::SystemClock());
  const lsm::CompactionRequest request{.level = 1, .self_level = true, .reclaim_bytes = 7};
  const JobReport report =
      WaitForEnd(jobs, *jobs.StartCompaction({.request = request, .dry_run = true}));
  EXPECT_EQ(report.state, JobState::kDone);
  EXPECT_TRUE(report.is_estimate);
  EXPECT_EQ(report.bytes_read, 200u);
  EXPECT_EQ(report.bytes_written, 160u);
  EXPECT_EQ(report.bytes_reclaimed, 50u);
  ASSERT_EQ(report.passes.size(), 2u);
  EXPECT_EQ(report.passes[1].name, "level 1");
  EXPECT_EQ(report.passes[1].bytes_written, 150u);
  const lsm::CompactionRequest asked = db.last_request();
  EXPECT_EQ(asked.level, 1);
  EXPECT_TRUE(asked.self_level);
  EXPECT_EQ(asked.reclaim_bytes, 7u);
  EXPECT_TRUE(asked.ranges.empty());
}

TEST(JobsTest, APathBecomesRanges) {
  ScriptedCompactionDb db([](lsm::JobControl&, const Progress&) { return io::Status::Ok(); });
  ASSERT_TRUE(FileSystem::Format(db, {}, 0, 0, io::SystemClock()).ok());
  Jobs jobs(db, io::SystemClock());
  const JobReport report = WaitForEnd(jobs, *jobs.StartCompaction({.top = kRootInode}));
  EXPECT_EQ(report.state, JobState::kDone);
  EXPECT_FALSE(report.is_estimate);
  ASSERT_EQ(report.passes.size(), 1u);
  EXPECT_EQ(report.passes[0].name, "walk");
  EXPECT_FALSE(db.last_request().ranges.empty());

  const JobReport gone = WaitForEnd(jobs, *jobs.StartCompaction({.top = InodeNumber{99}}));
  EXPECT_EQ(gone.state, JobState::kFailed);
  EXPECT_NE(gone.message.find("removed"), std::string::npos);
}

TEST(JobsTest, JobsAreListedInOrder) {
  ScriptedCompactionDb db([](lsm::JobControl&, const Progress&) { return io::Status::Ok(); });
  Jobs jobs(db, io::SystemClock());
  EXPECT_FALSE(jobs.FindNext(0).has_value());
  for (int i = 0; i < 3; ++i) WaitForEnd(jobs, *jobs.StartCompaction({}));
  for (uint64_t id = 0; id < 3; ++id) EXPECT_EQ(jobs.FindNext(id)->id, id + 1);
  EXPECT_FALSE(jobs.FindNext(3).has_value());
  EXPECT_FALSE(jobs.FindNext(UINT64_MAX).has_value());
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
