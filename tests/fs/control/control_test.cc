#include "fs/control/control.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "io/base/random.h"
#include "tests/support/scripted_compaction_db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::fs {
namespace {

constexpr uint32_t kOwner = 1000;
constexpr uint32_t kStranger = 1001;

class ControlTest : public ::testing::Test {
 protected:
  ControlTest()
      : db_([](lsm::JobControl&, const auto& progress) {
          progress({"a pass with a name that is longer than the field that it has to go into", 0, 1,
                    1, 1, 1, 1});
          return io::Status::Ok();
        }) {
    EXPECT_TRUE(FileSystem::Format(db_, {}, kOwner, kOwner, io::SystemClock()).ok());
    file_system_ = std::move(FileSystem::Mount(db_, {})).value();
    Restart(false);
  }
  void Restart(bool read_only) {
    control_.emplace(ControlTargets{*file_system_, db_, storage_, op_stats_, io::SystemClock()},
                     ControlSettings{std::string(5000, 's'), "auto", kOwner, read_only});
  }
  // The errno, or 0 and the changed struct.
  template <typename Struct>
  int Call(unsigned long command, Struct* data, uint32_t uid = kOwner) {
    const io::Result<std::string> answer =
        control_->Handle({static_cast<uint32_t>(command),
                          {reinterpret_cast<const std::byte*>(data), sizeof *data},
                          sizeof *data,
                          uid,
                          "dev"});
    if (!answer.ok()) {
      EXPECT_TRUE(answer.status().Is(io::StatusCode::kPosix)) << answer.status().ToString();
      return answer.status().os_errno();
    }
    EXPECT_EQ(answer->size(), sizeof *data);
    std::memcpy(data, answer->data(), sizeof *data);
    return 0;
  }
  static terracefs_compact Compact(int level = -1) {
    terracefs_compact data{};
    data.version = TERRACEFS_IOC_VERSION;
    data.level = level;
    return data;
  }
  static terracefs_job Job(uint64_t id, uint32_t action) {
    terracefs_job data{};
    data.version = TERRACEFS_IOC_VERSION;
    data.action = action;
    data.job = id;
    return data;
  }

  testing::ScriptedCompactionDb db_;
  testing::SimStorage storage_{1};
  OpStats op_stats_;
  std::unique_ptr<FileSystem> file_system_;
  std::optional<Control> control_;
};

TEST_F(ControlTest, OwnerAndRootCompactAndOthersDoNot) {
  terracefs_compact data = Compact();
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data, kOwner), 0);
  EXPECT_EQ(data.job, 1u);
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data, 0), 0);
  EXPECT_EQ(data.job, 2u);
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data, kStranger), EPERM);
}

TEST_F(ControlTest, CompactionChecksEveryField) {
  for (const int level : {-2, lsm::kLevelCount, 1000, INT32_MIN, INT32_MAX}) {
    terracefs_compact data = Compact(level);
    EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EINVAL) << level;
  }
  terracefs_compact data = Compact();
  data.flags = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EINVAL);
  data = Compact();
  data.reserved[4] = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EINVAL);
  data = Compact();
  data.version = 2;
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EINVAL);
}

TEST_F(ControlTest, ReadOnlyMountsDoNotCompact) {
  Restart(/*read_only=*/true);
  terracefs_compact data = Compact();
  EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EROFS);
}

TEST_F(ControlTest, JobsAreFoundAndLongTextsCut) {
  terracefs_job job = Job(0, TERRACEFS_JOB_STATUS);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
  terracefs_compact compact = Compact();
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &compact), 0);
  do {
    job = Job(compact.job, TERRACEFS_JOB_STATUS);
    ASSERT_EQ(Call(TERRACEFS_IOC_JOB, &job, kStranger), 0);
  } while (job.state == TERRACEFS_JOB_RUNNING);
  EXPECT_EQ(job.state, static_cast<uint32_t>(TERRACEFS_JOB_DONE));
  ASSERT_EQ(job.pass_count, 1u);
  EXPECT_EQ(strnlen(job.pass[0].name, sizeof job.pass[0].name), sizeof job.pass[0].name - 1);
}

TEST_F(ControlTest, OnlyTheOwnerCancels) {
  terracefs_compact compact = Compact();
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &compact), 0);
  terracefs_job job = Job(compact.job, TERRACEFS_JOB_CANCEL);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job, kStranger), EPERM);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job, kOwner), 0);
  job = Job(0, TERRACEFS_JOB_CANCEL);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
  job = Job(99, TERRACEFS_JOB_CANCEL);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
  job = Job(1, 7);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), EINVAL);
}

TEST_F(ControlTest, StatisticsHoldWhatIsKnown) {
  op_stats_.Record(Op::kRead, 5000);
  terracefs_stats data{};
  data.version = TERRACEFS_IOC_VERSION;
  ASSERT_EQ(Call(TERRACEFS_IOC_STATS, &data, kStranger), 0);
  EXPECT_EQ(data.version, static_cast<uint32_t>(TERRACEFS_IOC_VERSION));
  EXPECT_STREQ(data.transport, "dev");
  EXPECT_STREQ(data.limiter_mode, "auto");
  EXPECT_EQ(std::strlen(data.store_path), sizeof data.store_path - 1);
  EXPECT_STREQ(data.op[0].name, "read");
  EXPECT_EQ(data.op[0].count, 1u);
  EXPECT_EQ(data.op[0].p50_us, 5u);
  EXPECT_STREQ(data.op[1].name, "");
}

TEST_F(ControlTest, SyncIsForEverybody) {
  terracefs_sync data{};
  data.version = TERRACEFS_IOC_VERSION;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data, kStranger), 0);
  EXPECT_EQ(data.durable_sequence, db_.LastSequence());
  data.flags = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data), EINVAL);
}

TEST_F(ControlTest, FramesThatDoNotFitAreRefused) {
  terracefs_stats data{};
  data.version = TERRACEFS_IOC_VERSION;
  const auto bytes = std::as_bytes(std::span(&data, 1));
  const auto errno_of = [&](unsigned long command, io::Bytes input, size_t room) {
    return control_->Handle({static_cast<uint32_t>(command), input, room, 0, ""})
        .status()
        .os_errno();
  };
  EXPECT_EQ(errno_of(TERRACEFS_IOC_STATS, bytes.first(bytes.size() - 1), bytes.size()), EINVAL);
  EXPECT_EQ(errno_of(TERRACEFS_IOC_STATS, {}, bytes.size()), EINVAL);
  EXPECT_EQ(errno_of(TERRACEFS_IOC_STATS, bytes, bytes.size() - 1), EINVAL);
  EXPECT_EQ(errno_of(TERRACEFS_IOC_STATS, bytes, 0), EINVAL);
  EXPECT_EQ(errno_of(_IOR(TERRACEFS_IOC_MAGIC, 3, terracefs_stats), bytes, bytes.size()), EINVAL);
  EXPECT_EQ(errno_of(_IOWR(TERRACEFS_IOC_MAGIC, 4, terracefs_stats), bytes, bytes.size()), ENOTTY);
  EXPECT_EQ(errno_of(0x5401, bytes, bytes.size()), ENOTTY);
}

TEST_F(ControlTest, RandomRequestsNeverCrash) {
  io::Random random(20260101);
  const unsigned long known[] = {TERRACEFS_IOC_COMPACT, TERRACEFS_IOC_JOB, TERRACEFS_IOC_STATS,
                                 TERRACEFS_IOC_SYNC};
  for (int i = 0; i < 20'000; ++i) {
    uint32_t command = static_cast<uint32_t>(known[random.Uniform(4)]);
    if (random.OneIn(4)) command ^= 1u << random.Uniform(32);
    size_t bytes = (command >> 16) & 0x3fff;
    if (random.OneIn(4)) bytes = random.Uniform(16384);
    std::vector<std::byte> input(bytes);
    // Mostly zeros, so that some requests get through all checks.
    for (uint64_t j = random.Uniform(6); j > 0 && bytes > 0; --j) {
      input[random.Uniform(bytes)] = static_cast<std::byte>(random.Next());
    }
    if (bytes >= 4 && !random.OneIn(4)) {
      const uint32_t version = TERRACEFS_IOC_VERSION;
      std::memcpy(input.data(), &version, sizeof version);
    }
    const size_t room = random.OneIn(4) ? random.Uniform(20'000) : bytes;
    const io::Result<std::string> answer =
        control_->Handle({command, input, room, random.OneIn(2) ? kOwner : kStranger, "uring"});
    if (answer.ok()) {
      EXPECT_LE(answer->size(), room);
    }
  }
}

}  // namespace
}  // namespace terracefs::fs
