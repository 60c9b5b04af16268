#include "fs/mount_options.h"

#include <gtest/gtest.h>

#include "fs/units.h"

namespace terracefs::fs {
namespace {

MountOptions Parsed(const std::string& list) {
  const io::Result<MountOptions> options = ParseMountOptions({list});
  EXPECT_TRUE(options.ok()) << list << ": " << options.status().message();
  return options.ok() ? *options : MountOptions();
}

std::string Refusal(const std::string& list) {
  const io::Result<MountOptions> options = ParseMountOptions({list});
  return options.ok() ? "accepted" : options.status().message();
}

TEST(MountOptionsTest, NothingMeansTheDefaults) {
  for (const std::string list : {"", ",", ",,"}) {
    const MountOptions options = Parsed(list);
    EXPECT_FALSE(options.read_only);
    EXPECT_EQ(options.commit_ms, 5000);
    EXPECT_EQ(options.cache_bytes, 256 * io::kMiB);
    EXPECT_EQ(options.memtable_bytes, 64 * io::kMiB);
    EXPECT_TRUE(options.compaction_rate_auto);
    EXPECT_EQ(options.compaction_rate, lsm::kRateAuto);
    EXPECT_EQ(options.compaction_workers, 1);
    EXPECT_EQ(options.delete_deadline_ms, 600'000);
    EXPECT_EQ(options.garbage_ratio, 0.3);
    EXPECT_EQ(options.inline_max_bytes, 16 * io::kKiB);
    EXPECT_EQ(options.value_zstd_level, 0);
    EXPECT_EQ(options.atime, AtimePolicy::kRelative);
    EXPECT_EQ(options.transport, Transport::kAuto);
    EXPECT_EQ(options.io, io::IoBackend::kUring);
    EXPECT_TRUE(options.acl);
    EXPECT_FALSE(options.writeback);
    EXPECT_EQ(options.log_level, "info");
  }
}

TEST(MountOptionsTest, EveryOptionIsUnderstood) {
  const MountOptions options = Parsed(
      "ro,allow_other,default_permissions,nodev,nosuid,noexec,noacl,noatime,commit=500ms,cache=1G,"
      "memtable=16M,compaction_rate=2M,compaction_workers=3,delete_deadline=1m,transport=dev,"
      "io=posix,garbage_ratio=0.05,inline_max=64K,compress=zstd:3,writeback,log_level=debug,log_"
      "file=/var/log/terracefs.log");
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.allow_other);
  EXPECT_TRUE(options.no_dev && options.no_suid && options.no_exec);
  EXPECT_EQ(options.atime, AtimePolicy::kNone);
  EXPECT_EQ(options.commit_ms, 500);
  EXPECT_EQ(options.cache_bytes, io::kGiB);
  EXPECT_EQ(options.memtable_bytes, 16 * io::kMiB);
  EXPECT_FALSE(options.compaction_rate_auto);
  EXPECT_EQ(options.compaction_rate, 2 * io::kMiB);
  EXPECT_EQ(options.compaction_workers, 3);
  EXPECT_EQ(options.delete_deadline_ms, 60'000);
  EXPECT_EQ(options.garbage_ratio, 0.05);
  EXPECT_EQ(options.inline_max_bytes, 64 * io::kKiB);
  EXPECT_EQ(options.value_zstd_level, 3);
  EXPECT_EQ(options.transport, Transport::kDev);
  EXPECT_EQ(options.io, io::IoBackend::kPosix);
  EXPECT_FALSE(options.acl);
  EXPECT_TRUE(options.writeback);
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.log_file, "/var/log/terracefs.log");
}

TEST(MountOptionsTest, TheLastMentionWins) {
  EXPECT_FALSE(Parsed("ro,rw").read_only);
  EXPECT_EQ(Parsed("noatime,strictatime").atime, AtimePolicy::kStrict);
  EXPECT_TRUE(Parsed("compaction_rate=5M,compaction_rate=auto").compaction_rate_auto);
  const io::Result<MountOptions> lists = ParseMountOptions({"commit=1s", "commit=2s"});
  ASSERT_TRUE(lists.ok());
  EXPECT_EQ(lists->commit_ms, 2000);
}

TEST(MountOptionsTest, ZeroRateIsUnlimitedAndZeroCommitIsNever) {
  const MountOptions options = Parsed("compaction_rate=0,commit=0");
  EXPECT_EQ(options.compaction_rate, 0u);
  EXPECT_FALSE(options.compaction_rate_auto);
  EXPECT_EQ(options.commit_ms, 0);
}

TEST(MountOptionsTest, CompressionHasALevel) {
  EXPECT_EQ(Parsed("compress=none").value_zstd_level, 0);
  EXPECT_EQ(Parsed("compress=zstd").value_zstd_level, 1);
  EXPECT_EQ(Parsed("compress=zstd:19").value_zstd_level, 19);
  EXPECT_EQ(Parsed("compress=zstd,compress=none").value_zstd_level, 0);
  EXPECT_EQ(Parsed("inline_max=0").inline_max_bytes, 0u);
}

TEST(MountOptionsTest, WhatFstabSaysToOthersIsPassedOver) {
  const MountOptions options = Parsed(
      "defaults,noauto,user,users,owner,group,nouser,_netdev,nofail,x-systemd.automount,"
      "x-systemd.idle-timeout=1min,X-mount.mkdir=0755,comment=some text,user=me,lazytime,ro");
  EXPECT_TRUE(options.read_only);
  EXPECT_FALSE(options.sync);
  EXPECT_TRUE(Parsed("sync").sync);
  EXPECT_TRUE(Parsed("dirsync").dirsync);
  EXPECT_FALSE(Parsed("sync,async").sync);
}

TEST(MountOptionsTest, RefusalsNameTheOption) {
  EXPECT_EQ(Refusal("frob"), "unknown option 'frob'");
  EXPECT_EQ(Refusal("frob=1"), "unknown option 'frob=1'");
  EXPECT_EQ(Refusal("ro=yes"), "option ro: takes no value");
  EXPECT_EQ(Refusal("cache"), "option cache: needs a value");
  EXPECT_EQ(Refusal("cache=").substr(0, 14), "option cache: ");
  EXPECT_EQ(Refusal("commit=5"), "option commit: '5' is not a duration (examples: 500ms, 5s, 10m)");
  EXPECT_EQ(Refusal("log_file="), "option log_file: needs a path");
  EXPECT_EQ(Refusal("allow_root,allow_other"),
            "options allow_other and allow_root exclude each other");
}

TEST(MountOptionsTest, ValuesOutOfRangeAreRefused) {
  for (const std::string option : {"cache=1K",
                                   "cache=1",
                                   "memtable=1K",
                                   "memtable=5G",
                                   "compaction_rate=1K",
                                   "compaction_rate=fast",
                                   "compaction_workers=0",
                                   "compaction_workers=17",
                                   "compaction_workers=-1",
                                   "commit=2h",
                                   "delete_deadline=999ms",
                                   "delete_deadline=0",
                                   "garbage_ratio=0",
                                   "garbage_ratio=0.009",
                                   "garbage_ratio=1.01",
                                   "garbage_ratio=nan",
                                   "garbage_ratio=inf",
                                   "garbage_ratio=-0.3",
                                   "garbage_ratio=30%",
                                   "garbage_ratio=1e-1",
                                   "transport=tcp",
                                   "io=aio",
                                   "compress=",
                                   "compress=lz4",
                                   "compress=zstd:",
                                   "compress=zstd:0",
                                   "compress=zstd:20",
                                   "compress=zstd:-1",
                                   "compress=zstd:fast",
                                   "compress=zstd3",
                                   "inline_max=9M",
                                   "inline_max=-1",
                                   "inline_max=much",
                                   "log_level=loud"}) {
    EXPECT_TRUE(Refusal(option).starts_with("option ")) << option << ": " << Refusal(option);
  }
}

TEST(MountOptionsTest, WhatComesLaterSaysSo) {
  for (const std::string option : {"remote_compactor=host:1", "remote_compactor"}) {
    EXPECT_TRUE(Refusal(option).ends_with(": not supported by this version")) << option;
  }
}

TEST(MountOptionsTest, TheEngineIsTold) {
  lsm::Options engine;
  ApplyToEngine(Parsed("ro,commit=1s,cache=8M,memtable=2M,compaction_rate=0,compaction_workers=2,"
                       "delete_deadline=5s,garbage_ratio=1,inline_max=4K,compress=zstd:2"),
                &engine);
  EXPECT_TRUE(engine.read_only);
  EXPECT_EQ(engine.commit_interval_ms, 1000);
  EXPECT_EQ(engine.block_cache_bytes, 8 * io::kMiB);
  EXPECT_EQ(engine.memtable_bytes, 2 * io::kMiB);
  EXPECT_EQ(engine.compaction_rate, 0u);
  EXPECT_EQ(engine.compaction_workers, 2);
  EXPECT_EQ(engine.delete_deadline_ms, 5000);
  EXPECT_EQ(engine.garbage_ratio, 1);
  EXPECT_EQ(engine.inline_max_bytes, 4 * io::kKiB);
  EXPECT_EQ(engine.value_zstd_level, 2);
}

TEST(UnitsTest, SizesArePowersOf1024) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"0", 0},           {"4096", 4096},
      {"64K", 64 << 10},  {"16M", 16 << 20},
      {"2G", 2ull << 30}, {"1T", 1ull << 40},
      {"1KiB", 1024},     {"7B", 7},
      {"3MiB", 3 << 20},  {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : cases) {
    const io::Result<uint64_t> parsed = ParseSize(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(UnitsTest, MalformedNumbersAreRefused) {
  for (const char* text : {"", " 1", "1 ", "-1", "+1", "1.5G", "K", "1k", "1KB", "0x10", "1e3",
                           "9223372036854775808", "99999999999999999999", "16777216T", "1\n"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
    EXPECT_FALSE(ParseDurationMs(text).ok()) << text;
  }
  for (const char* text : {"", "1K", "-1", "1 "}) EXPECT_FALSE(ParseCount(text).ok()) << text;
}

TEST(UnitsTest, DurationsNeedAUnit) {
  const std::pair<const char*, int64_t> cases[] = {
      {"0", 0}, {"500ms", 500}, {"5s", 5000}, {"10m", 600'000}, {"2h", 7'200'000}, {"0s", 0}};
  for (const auto& [text, ms] : cases) {
    const io::Result<int64_t> parsed = ParseDurationMs(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, ms) << text;
  }
  EXPECT_FALSE(ParseDurationMs("5").ok());
  EXPECT_FALSE(ParseDurationMs("9223372036854775807h").ok());
}

TEST(UnitsTest, FractionsArePlainDecimals) {
  EXPECT_EQ(*ParseFraction("0.3"), 0.3);
  EXPECT_EQ(*ParseFraction("1"), 1);
  EXPECT_EQ(*ParseFraction(".5"), 0.5);
  for (const char* text : {"", ".", "-1", "+1", "1e3", "nan", "inf", "0x1p3", "1,5", " 1", "1 "}) {
    EXPECT_FALSE(ParseFraction(text).ok()) << text;
  }
}

TEST(UnitsTest, ExactTextsAreParsedBack) {
  for (const uint64_t bytes : {0ull, 1ull, 1023ull, 1024ull, 1536ull, 5ull << 20, 3ull << 30,
                               1ull << 40, (1ull << 40) + 1, 1ull << 62}) {
    EXPECT_EQ(*ParseSize(ExactSize(bytes)), bytes) << ExactSize(bytes);
  }
  EXPECT_EQ(ExactSize(64 << 10), "64K");
  EXPECT_EQ(ExactSize(2048 * io::kGiB), "2T");
  for (const int64_t ms : {0, 1, 500, 5000, 5001, 600'000, 7'200'000}) {
    EXPECT_EQ(*ParseDurationMs(ExactDuration(ms)), ms) << ExactDuration(ms);
  }
  EXPECT_EQ(ExactDuration(600'000), "10m");
  EXPECT_EQ(ExactDuration(1500), "1500ms");
}

TEST(UnitsTest, FormattedForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(3 * io::kGiB), "3.0 GiB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(FormatSeconds(0.0123), "0.012 s");
  EXPECT_EQ(FormatSeconds(3.44), "3.4 s");
  EXPECT_EQ(FormatSeconds(125), "2 m 05 s");
}

}  // namespace
}  // namespace terracefs::fs
