#include <gtest/gtest.h>
#include <sys/stat.h>

#include "fs/file_system.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "io/base/random.h"
#include "lsm/options.h"

namespace terracefs::fs {
namespace {

using io::StatusCode;

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto value = static_cast<unsigned char>(byte);
    text += kDigits[value >> 4];
    text += kDigits[value & 15];
  }
  return text;
}

TEST(KeysTest, AreWhatTheFormatSays) {
  EXPECT_EQ(Hex(SuperblockKey()), "010000000000000001");
  EXPECT_EQ(Hex(AllocatorKey()), "010000000000000002");
  EXPECT_EQ(Hex(InodeKey(InodeNumber{258})), "100000000000000102");
  EXPECT_EQ(Hex(DirentKey(kRootInode, "ab")), "2000000000000000016162");
  EXPECT_EQ(Hex(ListingKey(kRootInode, 3)), "2800000000000000010000000000000003");
  EXPECT_EQ(Hex(XattrKey(InodeNumber{2}, "user.a")), "300000000000000002757365722e61");
  EXPECT_EQ(Hex(OrphanKey(InodeNumber{2})), "380000000000000002");
  EXPECT_EQ(Hex(TrimKey(9)), "3c0000000000000009");
  EXPECT_EQ(Hex(ExtentKey(9, 256)), "4000000000000000090000000000000100");
}

TEST(KeysTest, SortAsTheirNumbers) {
  EXPECT_LT(ExtentKey(9, 255).view(), ExtentKey(9, 256).view());
  EXPECT_LT(ExtentKey(9, UINT64_MAX).view(), GroupEnd(Domain::kExtent, 9).view());
  EXPECT_LT(DirentKey(kRootInode, std::string(255, '\xff')).view(),
            GroupEnd(Domain::kDirent, 1).view());
  EXPECT_LE(GroupBegin(Domain::kListing, 5).view(), ListingKey(InodeNumber{5}, 0).view());
}

TEST(KeysTest, ParseBack) {
  const Key key = DirentKey(InodeNumber{77}, "name");
  const auto parsed = ParseKey(key);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->domain, Domain::kDirent);
  EXPECT_EQ(parsed->id, 77U);
  EXPECT_EQ(parsed->name, "name");
  EXPECT_EQ(ParseKey(ListingKey(kRootInode, 42))->number, 42U);
}

TEST(KeysTest, WrongShapesAreRefused) {
  for (const std::string key : {"", "\x10",
                                "\x10"
                                "1234567",
                                "\x10"
                                "123456789",
                                "\x20"
                                "12345678",
                                "\x28"
                                "12345678",
                                "\x40"
                                "123456781234567",
                                "\x50"
                                "12345678"}) {
    EXPECT_FALSE(ParseKey(key).has_value()) << Hex(key);
  }
}

TEST(KeysTest, TheEngineKnowsDomainsAndGroups) {
  lsm::Options options;
  FileSystem::ConfigureEngine(&options);
  const Key extent = ExtentKey(9, 1);
  EXPECT_EQ(options.domain_of(extent), extent.view().substr(0, 1));
  EXPECT_EQ(options.group_of(extent), extent.view().substr(0, 9));
  EXPECT_TRUE(options.filter_key(extent));
  EXPECT_FALSE(options.filter_key(ListingKey(kRootInode, 3)));
  EXPECT_EQ(options.group_of("x"), "x");
}

InodeRecord SampleFile() {
  InodeRecord record;
  record.mode = S_IFREG | 0644;
  record.nlink = 1;
  record.uid = 1000;
  record.gid = 100;
  record.btime_ns = 0x0102030405060708;
  record.atime_ns = record.btime_ns + 1;
  record.mtime_ns = record.btime_ns - 1;
  record.ctime_ns = record.btime_ns;
  record.size = 5;
  record.page_count = 1;
  record.data_id = 300;
  return record;
}

TEST(RecordsTest, TheInodeRecordIsWhatTheFormatSays) {
  std::string value;
  EncodeInode(SampleFile(), &value);
  EXPECT_EQ(Hex(value), "0200a4830201e80764000807060504030201020100000501ac02");
}

TEST(RecordsTest, InodesOfEveryTypeComeBack) {
  io::Random random(5);
  for (const mode_t type : std::initializer_list<mode_t>{S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR,
                                                         S_IFBLK, S_IFIFO, S_IFSOCK}) {
    for (int i = 0; i < 200; ++i) {
      const auto number = [&] { return random.Next() >> random.Uniform(64); };
      InodeRecord record;
      record.mode = type | static_cast<uint32_t>(random.Uniform(010000));
      record.nlink = static_cast<uint32_t>(number());
      record.uid = static_cast<uint32_t>(number());
      record.gid = static_cast<uint32_t>(number());
      record.generation = number();
      record.btime_ns = static_cast<int64_t>(number());
      record.atime_ns = static_cast<int64_t>(random.Next());
      record.mtime_ns = static_cast<int64_t>(number());
      record.ctime_ns = -static_cast<int64_t>(number() >> 1);
      record.xattr_list_bytes = number();
      record.has_capability = random.OneIn(2);
      record.trim_pending = random.OneIn(2);
      record.has_access_acl = random.OneIn(2);
      record.has_default_acl = random.OneIn(2);
      if (type == S_IFREG) record.size = number() >> 1;
      if (type == S_IFREG) record.page_count = number();
      if (type == S_IFREG) record.data_id = number();
      if (type == S_IFREG && random.OneIn(2)) {
        record.allocated_end =
            PagesFor(record.size) + 1 +
            random.Uniform(PagesFor(kFileBytesMax) - PagesFor(record.size) + 1) / 2;
        record.allocated_end = std::min(record.allocated_end, PagesFor(kFileBytesMax));
        if (record.allocated_end == PagesFor(record.size)) record.allocated_end = 0;
      }
      record.has_unwritten = random.OneIn(2);
      if (type == S_IFDIR) record.parent.value = number();
      if (type == S_IFDIR) record.next_cookie = 3 + (number() >> 1);
      if (type == S_IFDIR) record.entry_count = number();
      if (type == S_IFDIR) record.first_cookie = 3 + random.Uniform(record.next_cookie - 2);
      if (type == S_IFCHR || type == S_IFBLK) record.rdev = number();
      if (type == S_IFLNK) record.target.assign(random.Uniform(4096), 't');
      std::string value;
      EncodeInode(record, &value);
      ASSERT_LE(value.size(), kInodeRecordBytesMax + record.target.size() + 2);
      const auto decoded = DecodeInode(value);
      ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
      std::string again;
      EncodeInode(*decoded, &again);
      EXPECT_EQ(value, again);
      EXPECT_EQ(decoded->atime_ns, record.atime_ns);
      EXPECT_EQ(decoded->ctime_ns, record.ctime_ns);
      EXPECT_EQ(decoded->target, record.target);
      EXPECT_EQ(decoded->has_access_acl, record.has_access_acl);
      EXPECT_EQ(decoded->has_default_acl, record.has_default_acl);
      EXPECT_EQ(decoded->allocated_end, record.allocated_end);
      EXPECT_EQ(decoded->has_unwritten, record.has_unwritten);
    }
  }
}

TEST(RecordsTest, CutAndLongInodeRecordsAreCorrupt) {
  std::string value;
  EncodeInode(SampleFile(), &value);
  for (size_t bytes = 0; bytes < value.size(); ++bytes) {
    EXPECT_TRUE(DecodeInode(value.substr(0, bytes)).status().Is(StatusCode::kCorruption)) << bytes;
  }
  EXPECT_TRUE(DecodeInode(value + "x").status().Is(StatusCode::kCorruption));
}

TEST(RecordsTest, AllocatedPagesEndBeyondTheSize) {
  InodeRecord record = SampleFile();
  for (const uint64_t end :
       {uint64_t{1}, uint64_t{2}, uint64_t{1} << 51, (uint64_t{1} << 51) + 1}) {
    record.allocated_end = end;
    std::string value;
    EncodeInode(record, &value);
    EXPECT_EQ(DecodeInode(value).ok(), end == 2 || end == uint64_t{1} << 51) << end;
  }
}

TEST(RecordsTest, TheFirstCookieIsAmongTheCookies) {
  InodeRecord record;
  record.mode = S_IFDIR | 0755;
  record.next_cookie = 10;
  for (const uint64_t first : {0U, 2U, 3U, 10U, 11U}) {
    record.first_cookie = first;
    std::string value;
    EncodeInode(record, &value);
    EXPECT_EQ(DecodeInode(value).ok(), first == 3 || first == 10) << first;
  }
}

TEST(RecordsTest, UnknownVersionsAndFlagsAreNotSupported) {
  std::string value;
  EncodeInode(SampleFile(), &value);
  std::string newer = value;
  newer[0] = 3;
  EXPECT_TRUE(DecodeInode(newer).status().Is(StatusCode::kNotSupported));
  newer[0] = 1;  // before there was a first cookie
  EXPECT_TRUE(DecodeInode(newer).status().Is(StatusCode::kNotSupported));
  newer = value;
  newer[1] = 64;
  EXPECT_TRUE(DecodeInode(newer).status().Is(StatusCode::kNotSupported));
}

TEST(RecordsTest, APageIsItsBytes) {
  EXPECT_EQ(DecodePage("").value(), "");
  EXPECT_EQ(DecodePage("\x02").value(), "\x02");
  EXPECT_EQ(DecodePage(std::string(4096, 'x')).value(), std::string(4096, 'x'));
  EXPECT_TRUE(DecodePage(std::string(4097, 'x')).status().Is(StatusCode::kCorruption));
}

TEST(RecordsTest, NoBytesAtAllCrashADecoder) {
  io::Random random(9);
  for (int i = 0; i < 100'000; ++i) {
    std::string bytes(random.Uniform(60), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.OneIn(3) ? 1 : random.Next());
    DecodeInode(bytes).status().IgnoreError("only that it returns");
    DecodeDirent(bytes).status().IgnoreError("only that it returns");
    DecodeListing(bytes).status().IgnoreError("only that it returns");
    DecodeSuperblock("TerraceFS" + bytes).status().IgnoreError("only that it returns");
    DecodeAllocatorBound(bytes).status().IgnoreError("only that it returns");
    DecodeTrim(bytes).status().IgnoreError("only that it returns");
    DecodeXattr(bytes).status().IgnoreError("only that it returns");
  }
}

TEST(RecordsTest, TheSuperblockComesBack) {
  const std::string value =
      EncodeSuperblock({.size_bytes = 1 << 30, .created_ns = 77, .label = "name"});
  const auto decoded = DecodeSuperblock(value);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->size_bytes, uint64_t{1} << 30);
  EXPECT_EQ(decoded->created_ns, 77);
  EXPECT_EQ(decoded->label, "name");
  EXPECT_TRUE(DecodeSuperblock("something else").status().Is(StatusCode::kCorruption));
  std::string newer = value;
  newer[9] = 1;  // before pages lost their tags
  EXPECT_TRUE(DecodeSuperblock(newer).status().Is(StatusCode::kNotSupported));
  newer[9] = 3;
  EXPECT_TRUE(DecodeSuperblock(newer).status().Is(StatusCode::kNotSupported));
  newer = value;
  newer[10] = 1;
  EXPECT_TRUE(DecodeSuperblock(newer).status().Is(StatusCode::kNotSupported));
}

TEST(RecordsTest, DirentsAndListingsComeBack) {
  std::string value;
  EncodeDirent({.ino = InodeNumber{300}, .type = S_IFDIR, .cookie = 5}, &value);
  EXPECT_EQ(Hex(value), "04ac0205");
  EXPECT_EQ(DecodeDirent(value).value(),
            (Dirent{.ino = InodeNumber{300}, .type = S_IFDIR, .cookie = 5}));
  value.clear();
  EncodeListing({.ino = InodeNumber{300}, .type = S_IFREG, .name = "ab"}, &value);
  EXPECT_EQ(Hex(value), "08ac026162");
  EXPECT_EQ(DecodeListing(value).value().name, "ab");
  EXPECT_EQ(Hex(EncodeTrim({.ino = InodeNumber{300}, .first_page = 1})), "01ac0201");
  EXPECT_EQ(Hex(EncodeAllocatorBound(1026)), "010204000000000000");
}

}  // namespace
}  // namespace terracefs::fs
