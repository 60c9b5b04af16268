#include "fs/control/control.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "fs/schema/limits.h"
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
    MountOptions options;
    options.read_only = read_only;
    control_.emplace(ControlTargets{*file_system_, db_, storage_, op_stats_, io::SystemClock()},
                     ControlSettings{std::string(5000, 's'), kOwner, options});
  }
  // The errno, or 0 and the changed struct.
  template <typename Struct>
  int Call(unsigned long command, Struct* data, uint32_t uid = kOwner,
           InodeNumber ino = kRootInode) {
    const io::Result<std::string> answer =
        control_->Handle({static_cast<uint32_t>(command),
                          {reinterpret_cast<const std::byte*>(data), sizeof *data},
                          sizeof *data,
                          uid,
                          "dev",
                          ino});
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

  terracefs_job Finished(uint64_t id) {
    terracefs_job job{};
    do {
      job = Job(id, TERRACEFS_JOB_STATUS);
      EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job, kStranger), 0);
    } while (job.state == TERRACEFS_JOB_RUNNING);
    return job;
  }
  static terracefs_config Config(terracefs_config_action action, const char* key = "",
                                 const char* value = "") {
    terracefs_config data{};
    data.version = TERRACEFS_IOC_VERSION;
    data.action = action;
    std::strcpy(data.setting[0].key, key);
    std::strcpy(data.setting[0].value, value);
    return data;
  }
  std::string Get(const char* key) {
    terracefs_config data = Config(TERRACEFS_CONFIG_GET, key);
    EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data, kStranger), 0);
    EXPECT_EQ(data.count, 1u);
    EXPECT_STREQ(data.setting[0].key, key);
    return data.setting[0].value;
  }
  int Set(const char* key, const char* value, uint32_t uid = kOwner) {
    terracefs_config data = Config(TERRACEFS_CONFIG_SET, key, value);
    return Call(TERRACEFS_IOC_CONFIG, &data, uid);
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
  for (const uint64_t flags : {uint64_t{16}, uint64_t{1} << 32, UINT64_MAX}) {
    data.flags = flags;
    EXPECT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), EINVAL) << flags;
  }
  data = Compact();
  data.reserved[11] = 1;
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
  EXPECT_EQ(std::strlen(data.store_path), sizeof data.store_path - 1);
  EXPECT_STREQ(data.op[0].name, "read");
  EXPECT_EQ(data.op[0].count, 1u);
  EXPECT_EQ(data.op[0].p50_us, 5u);
  EXPECT_STREQ(data.op[1].name, "");
}

TEST_F(ControlTest, WhatIsAskedForReachesTheEngine) {
  terracefs_compact data = Compact(3);
  data.flags = TERRACEFS_COMPACT_SELF_LEVEL;
  data.reclaim_bytes = 12345;
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), 0);
  EXPECT_EQ(Finished(data.job).flags, 0u);
  lsm::CompactionRequest asked = db_.last_request();
  EXPECT_EQ(asked.level, 3);
  EXPECT_TRUE(asked.self_level);
  EXPECT_EQ(asked.reclaim_bytes, 12345u);
  EXPECT_TRUE(asked.ranges.empty());
  EXPECT_FALSE(asked.vacuum);

  data = Compact();
  data.flags = TERRACEFS_COMPACT_VACUUM;
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), 0);
  Finished(data.job);
  EXPECT_TRUE(db_.last_request().vacuum);

  data = Compact();
  data.flags = TERRACEFS_COMPACT_PATH;
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), 0);
  Finished(data.job);
  asked = db_.last_request();
  EXPECT_FALSE(asked.self_level);
  EXPECT_FALSE(asked.ranges.empty());
}

TEST_F(ControlTest, ADryRunIsAJobThatSaysSo) {
  db_.estimate.bytes_reclaimed = 77;
  terracefs_compact data = Compact();
  data.flags = TERRACEFS_COMPACT_DRY_RUN;
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &data), 0);
  const terracefs_job job = Finished(data.job);
  EXPECT_EQ(job.state, static_cast<uint32_t>(TERRACEFS_JOB_DONE));
  EXPECT_EQ(job.flags, static_cast<uint64_t>(TERRACEFS_JOB_ESTIMATE));
  EXPECT_EQ(job.bytes_reclaimed, 77u);
}

TEST_F(ControlTest, OnlyTheOwnerPausesAndResumes) {
  terracefs_compact compact = Compact();
  ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &compact), 0);
  for (const uint32_t action : {TERRACEFS_JOB_PAUSE, TERRACEFS_JOB_RESUME}) {
    terracefs_job job = Job(compact.job, action);
    EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job, kStranger), EPERM);
    EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job, 0), 0);
    job = Job(99, action);
    EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
    job = Job(0, action);
    EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
  }
}

TEST_F(ControlTest, JobsAreListedOneByOne) {
  for (int i = 0; i < 3; ++i) {
    terracefs_compact compact = Compact();
    ASSERT_EQ(Call(TERRACEFS_IOC_COMPACT, &compact), 0);
    Finished(compact.job);
  }
  uint64_t id = 0;
  for (int i = 0; i < 3; ++i) {
    terracefs_job job = Job(id, TERRACEFS_JOB_NEXT);
    ASSERT_EQ(Call(TERRACEFS_IOC_JOB, &job, kStranger), 0);
    EXPECT_EQ(job.job, ++id);
  }
  terracefs_job job = Job(id, TERRACEFS_JOB_NEXT);
  EXPECT_EQ(Call(TERRACEFS_IOC_JOB, &job), ENOENT);
}

TEST_F(ControlTest, SettingsTakeEffectAndShowIt) {
  const std::pair<const char*, const char*> values[] = {
      {"compaction_rate", "5M"},  {"compaction_rate", "0"}, {"compaction_workers", "3"},
      {"delete_deadline", "90s"}, {"garbage_ratio", "0.5"}, {"compress", "zstd:7"},
      {"commit", "500ms"},        {"cache", "8M"},          {"log_level", "warn"},
      {"log_level", "info"}};
  for (const auto& [key, value] : values) {
    EXPECT_EQ(Set(key, value), 0) << key;
    EXPECT_EQ(Get(key), value);
  }
  EXPECT_EQ(db_.cache_bytes(), 8 * io::kMiB);
  EXPECT_EQ(db_.Stats().commit_interval_ms, 500);
  EXPECT_EQ(db_.value_zstd_level(), 7);
  EXPECT_EQ(Set("compress", "zstd"), 0);
  EXPECT_EQ(Get("compress"), "zstd:1");
  EXPECT_EQ(db_.value_zstd_level(), 1);
  EXPECT_EQ(Set("compress", "none"), 0);
  EXPECT_EQ(Get("compress"), "none");
  EXPECT_EQ(db_.value_zstd_level(), 0);
  EXPECT_EQ(Set("commit", "60s", 0), 0);
  EXPECT_EQ(Get("commit"), "1m") << "in the largest unit";
}

TEST_F(ControlTest, ARefusedSettingChangesNothing) {
  ASSERT_EQ(Set("compaction_workers", "2"), 0);
  ASSERT_EQ(Set("compaction_rate", "5M"), 0);
  EXPECT_EQ(Set("compaction_workers", "3", kStranger), EPERM);
  const std::pair<const char*, const char*> bad[] = {{"compaction_workers", "0"},
                                                     {"compaction_workers", "17"},
                                                     {"compaction_workers", ""},
                                                     {"compaction_rate", "1"},
                                                     {"compaction_rate", "slow"},
                                                     {"garbage_ratio", "0"},
                                                     {"garbage_ratio", "1.1"},
                                                     {"garbage_ratio", "nan"},
                                                     {"commit", "5"},
                                                     {"delete_deadline", "1ms"},
                                                     {"cache", "1"},
                                                     {"log_level", "loud"},
                                                     {"memtable", "16M"},
                                                     {"compress", "zstd:20"},
                                                     {"inline_max", "4K"},
                                                     {"log_file", "/tmp/x"},
                                                     {"ro", ""},
                                                     {"", ""},
                                                     {"cache\n", "8M"}};
  for (const auto& [key, value] : bad) EXPECT_EQ(Set(key, value), EINVAL) << key << "=" << value;
  EXPECT_EQ(Get("compaction_workers"), "2");
  EXPECT_EQ(Get("compaction_rate"), "5M");
}

TEST_F(ControlTest, SettingsChecksEveryField) {
  terracefs_config data = Config(TERRACEFS_CONFIG_GET, "frob");
  EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data), EINVAL);
  data = Config(TERRACEFS_CONFIG_LIST);
  data.reserved[7] = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data), EINVAL);
  data = Config(static_cast<terracefs_config_action>(3), "cache");
  EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data), EINVAL);
  for (const auto action : {TERRACEFS_CONFIG_LIST, TERRACEFS_CONFIG_GET, TERRACEFS_CONFIG_SET}) {
    data = Config(action);
    std::memset(data.setting[0].key, 'k', sizeof data.setting[0].key);
    EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data), EINVAL) << "no end";
    data = Config(action, "cache");
    std::memset(data.setting[0].value, '9', sizeof data.setting[0].value);
    EXPECT_EQ(Call(TERRACEFS_IOC_CONFIG, &data), EINVAL) << "no end";
  }
}

TEST_F(ControlTest, AllSettingsAreListed) {
  terracefs_config data = Config(TERRACEFS_CONFIG_LIST);
  ASSERT_EQ(Call(TERRACEFS_IOC_CONFIG, &data, kStranger), 0);
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < data.count; ++i) keys.emplace_back(data.setting[i].key);
  EXPECT_EQ(keys, (std::vector<std::string>{"compaction_rate", "compaction_workers",
                                            "delete_deadline", "garbage_ratio", "compress",
                                            "commit", "cache", "log_level"}));
}

TEST_F(ControlTest, TheLimiterModeFollowsTheSetting) {
  const auto mode = [&] {
    terracefs_stats data{};
    data.version = TERRACEFS_IOC_VERSION;
    EXPECT_EQ(Call(TERRACEFS_IOC_STATS, &data), 0);
    return std::string(data.limiter_mode);
  };
  ASSERT_EQ(Set("compaction_rate", "7M"), 0);
  EXPECT_EQ(mode(), "fixed");
  ASSERT_EQ(Set("compaction_rate", "0"), 0);
  EXPECT_EQ(mode(), "unlimited");
  db_.SetCompactionRate(lsm::kRateAuto);
  EXPECT_EQ(mode(), "auto");
  EXPECT_EQ(Get("compaction_rate"), "auto");
}

TEST_F(ControlTest, StatisticsSayWhatEachLevelTook) {
  lsm::DbStats stats;
  stats.levels[2] = {.level = 2,
                     .files = 1,
                     .bytes = 2,
                     .score = 1.5,
                     .target_bytes = 3,
                     .tombstones = 4,
                     .garbage_bytes = 5,
                     .jobs = 6,
                     .bytes_read = 7,
                     .bytes_written = 8,
                     .job_ns = 9};
  stats.jobs_by_reason = {{"level size", 10}, {"manual", 11}};
  db_.SetStats(stats);
  terracefs_stats data{};
  data.version = TERRACEFS_IOC_VERSION;
  ASSERT_EQ(Call(TERRACEFS_IOC_STATS, &data), 0);
  const terracefs_level_stats& level = data.level[2];
  EXPECT_EQ(level.files, 1u);
  EXPECT_EQ(level.target_bytes, 3u);
  EXPECT_EQ(level.score_milli, 1500u);
  EXPECT_EQ(level.tombstones, 4u);
  EXPECT_EQ(level.garbage_bytes, 5u);
  EXPECT_EQ(level.jobs, 6u);
  EXPECT_EQ(level.bytes_read, 7u);
  EXPECT_EQ(level.bytes_written, 8u);
  EXPECT_EQ(level.nanoseconds, 9u);
  EXPECT_STREQ(data.job_reason[0].name, "level size");
  EXPECT_EQ(data.job_reason[1].count, 11u);
}

class SpaceControlTest : public ControlTest {
 protected:
  terracefs_space Space() {
    terracefs_space data{};
    data.version = TERRACEFS_IOC_VERSION;
    EXPECT_EQ(Call(TERRACEFS_IOC_SPACE, &data, kStranger), 0);
    EXPECT_EQ(data.live_bytes + data.tombstone_bytes + data.blob_garbage_bytes +
                  data.open_unlinked_bytes + data.obsolete_file_bytes + data.log_bytes +
                  data.spare_bytes + data.metadata_bytes,
              data.physical_bytes);
    return data;
  }
  // What an inode with so many pages leaves while it is still known to the kernel.
  void LeaveOrphan(const char* name, size_t page_count) {
    const OpContext context{.uid = kOwner, .gid = kOwner};
    const auto made = file_system_->MakeNode(context, kRootInode, name, S_IFREG | 0600, 0);
    ASSERT_TRUE(made.ok());
    const std::string data(page_count * kPageBytes, 'x');
    ASSERT_TRUE(file_system_->Write(context, made->ino, 0, io::AsBytes(data), false).ok());
    ASSERT_TRUE(file_system_->Unlink(context, kRootInode, name).ok());
  }
  static lsm::SpaceStats Stats() {
    return {.table_bytes = 1'000'000,
            .table_garbage_bytes = 300'000,
            .log_bytes = 50'000,
            .value_bytes = 900'000,
            .value_garbage_bytes = 200'000,
            .value_spare_bytes = 40'000,
            .obsolete_bytes = 30'000,
            .physical_bytes = 2'230'000};
  }
};

TEST_F(SpaceControlTest, AllBytesAreSomewhere) {
  db_.SetSpace(Stats());
  db_.SetCompactionRate(150'000);
  const terracefs_space space = Space();
  EXPECT_EQ(space.capacity_bytes, file_system_->StatFs()->capacity_bytes);
  EXPECT_EQ(space.live_bytes, 1'600'000u);
  EXPECT_EQ(space.physical_bytes, 2'230'000u);
  EXPECT_EQ(space.tombstone_bytes, 300'000u);
  EXPECT_EQ(space.blob_garbage_bytes, 200'000u);
  EXPECT_EQ(space.open_unlinked_bytes, 0u);
  EXPECT_EQ(space.obsolete_file_bytes, 30'000u);
  EXPECT_EQ(space.log_bytes, 50'000u);
  EXPECT_EQ(space.spare_bytes, 40'000u);
  EXPECT_EQ(space.metadata_bytes, 10'000u);
  EXPECT_EQ(space.rate, 150'000u);
  EXPECT_EQ(space.eta_s, 4u) << "half a MB at that rate, rounded up";
}

TEST_F(SpaceControlTest, WithoutGarbageOrLimitNothingIsWaitedFor) {
  db_.SetCompactionRate(150'000);
  EXPECT_EQ(Space().eta_s, 0u);
  db_.SetSpace(Stats());
  db_.SetCompactionRate(0);
  EXPECT_EQ(Space().rate, 0u);
  EXPECT_EQ(Space().eta_s, 0u);
}

TEST_F(SpaceControlTest, UnlinkedFilesThatAreOpenAreNotLive) {
  db_.SetSpace(Stats());
  LeaveOrphan("a", 10);
  LeaveOrphan("b", 20);
  terracefs_space space = Space();
  EXPECT_EQ(space.open_unlinked_bytes, 30 * kPageBytes);
  EXPECT_EQ(space.live_bytes, 1'600'000 - 30 * kPageBytes);

  // All pages of the store, and they take less than their size: compressed.
  lsm::SpaceStats stats = Stats();
  stats.table_bytes = stats.table_garbage_bytes = 0;
  stats.value_bytes = 30 * kPageBytes / 4;
  stats.physical_bytes = stats.value_bytes + 320'000;
  db_.SetSpace(stats);
  space = Space();
  EXPECT_EQ(space.open_unlinked_bytes, 30 * kPageBytes / 4);
  EXPECT_EQ(space.live_bytes, 0u);
}

TEST_F(SpaceControlTest, FieldsAreChecked) {
  terracefs_space data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.flags = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_SPACE, &data), EINVAL);
  data.flags = 0;
  data.reserved[15] = 1;
  EXPECT_EQ(Call(TERRACEFS_IOC_SPACE, &data), EINVAL);
}

TEST_F(ControlTest, SyncIsForEverybody) {
  terracefs_sync data{};
  data.version = TERRACEFS_IOC_VERSION;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data, kStranger), 0);
  EXPECT_EQ(data.durable_sequence, db_.LastSequence());
  data.flags = 32;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data), EINVAL);
}

TEST_F(ControlTest, WhatARemountChangesIsForTheOwner) {
  terracefs_sync data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.flags = TERRACEFS_SYNC_READ_ONLY | TERRACEFS_SYNC_NOATIME;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data, kStranger), EPERM);
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data), 0);
  const OpContext context;
  EXPECT_EQ(file_system_->MakeDirectory(context, kRootInode, "d", 0755).status().os_errno(), EROFS);
  data.flags = TERRACEFS_SYNC_WRITABLE | TERRACEFS_SYNC_RELATIME;
  EXPECT_EQ(Call(TERRACEFS_IOC_SYNC, &data), 0);
  EXPECT_TRUE(file_system_->MakeDirectory(context, kRootInode, "d", 0755).ok());
  data.flags = TERRACEFS_SYNC_WRITABLE | TERRACEFS_SYNC_READ_ONLY;
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
  EXPECT_EQ(errno_of(_IOWR(TERRACEFS_IOC_MAGIC, 6, terracefs_stats), bytes, bytes.size()), ENOTTY);
  EXPECT_EQ(errno_of(0x5401, bytes, bytes.size()), ENOTTY);
}

TEST_F(ControlTest, RandomRequestsNeverCrash) {
  io::Random random(20260101);
  const unsigned long known[] = {TERRACEFS_IOC_COMPACT, TERRACEFS_IOC_JOB,    TERRACEFS_IOC_STATS,
                                 TERRACEFS_IOC_SYNC,    TERRACEFS_IOC_CONFIG, TERRACEFS_IOC_SPACE};
  for (int i = 0; i < 20'000; ++i) {
    uint32_t command = static_cast<uint32_t>(known[random.Uniform(std::size(known))]);
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
    const io::Result<std::string> answer = control_->Handle(
        {command, input, room, random.OneIn(2) ? kOwner : kStranger, "uring", kRootInode});
    if (answer.ok()) {
      EXPECT_LE(answer->size(), room);
    }
  }
}

}  // namespace
}  // namespace terracefs::fs
