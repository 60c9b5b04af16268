#include "lsm/file_names.h"

#include <gtest/gtest.h>

#include <string>

namespace terracefs::lsm {
namespace {

TEST(FileNamesTest, NamesAreAsDescribed) {
  EXPECT_EQ(FileName(FileKind::kLog, 12), "000012.wal");
  EXPECT_EQ(FileName(FileKind::kTable, 12), "000012.sst");
  EXPECT_EQ(FileName(FileKind::kBlob, 12), "000012.blob");
  EXPECT_EQ(FileName(FileKind::kManifest, 12), "MANIFEST-000012");
  EXPECT_EQ(FileName(FileKind::kLog, 12'345'678), "12345678.wal");
}

TEST(FileNamesTest, NamesComeBackAsNumbers) {
  for (const FileKind kind :
       {FileKind::kLog, FileKind::kTable, FileKind::kBlob, FileKind::kManifest}) {
    for (const FileNumber number :
         {FileNumber{1}, FileNumber{999'999}, FileNumber{1'000'000}, kFileNumberMax}) {
      const auto parsed = ParseFileName(FileName(kind, number));
      ASSERT_TRUE(parsed) << FileName(kind, number);
      EXPECT_EQ(parsed->kind, kind);
      EXPECT_EQ(parsed->number, number);
    }
  }
}

TEST(FileNamesTest, OtherNamesAreNotNumberedFiles) {
  for (const char* const name : {"",
                                 "CURRENT",
                                 "LOCK",
                                 "IDENTITY",
                                 "OPTIONS",
                                 "MANIFEST-",
                                 "MANIFEST",
                                 ".wal",
                                 "wal",
                                 "000000.wal",
                                 "MANIFEST-000000",
                                 "12.wal.tmp",
                                 "x12.wal",
                                 "12x.wal",
                                 "-1.sst",
                                 "+1.sst",
                                 " 1.sst",
                                 "1 .sst",
                                 "1.5.sst",
                                 "0x10.blob",
                                 "99999999999999999999999.wal",
                                 "12.log",
                                 "MANIFEST-12.wal",
                                 "CURRENT.tmp",
                                 "18446744073709551615.wal",
                                 "12",
                                 "12.wal",
                                 "MANIFEST-12",
                                 "0000012.sst"}) {
    EXPECT_FALSE(ParseFileName(name)) << name;
  }
}

}  // namespace
}  // namespace terracefs::lsm
