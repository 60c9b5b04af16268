#include "fs/mount_table.h"

#include <gtest/gtest.h>

namespace terracefs::fs {
namespace {

TEST(MountTableTest, LinesOfTheKernelAreUnderstood) {
  const std::vector<MountEntry> entries = ParseMountInfo(
      "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
      "40 22 0:41 / /mnt/a\\040b\\134c rw,nosuid shared:7 master:2 - fuse.terracefs /srv/x\\011y "
      "rw,user_id=0\n");
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].mountpoint, "/");
  EXPECT_EQ(entries[0].type, "ext4");
  EXPECT_EQ(entries[0].source, "/dev/sda1");
  EXPECT_EQ(entries[0].device, "8:1");
  EXPECT_EQ(entries[1].mountpoint, "/mnt/a b\\c");
  EXPECT_EQ(entries[1].type, "fuse.terracefs");
  EXPECT_EQ(entries[1].source, "/srv/x\ty");
  EXPECT_EQ(entries[1].device, "0:41");
}

TEST(MountTableTest, WhatIsNotALineIsSkipped) {
  for (const char* text : {"", "\n\n", "one two", "1 2 3 4 5 6 7 8", "1 2 3:4 / /x rw - fuse",
                           "- - - - - - -", "1 2 3:4 / /x\\04 rw -"}) {
    EXPECT_TRUE(ParseMountInfo(text).empty()) << text;
  }
}

TEST(MountTableTest, TheRootIsMounted) {
  EXPECT_TRUE(FindMount("/").has_value());
  EXPECT_FALSE(FindMount("/no/such/mount").has_value());
}

}  // namespace
}  // namespace terracefs::fs
