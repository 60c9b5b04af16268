#include "fs/store_files.h"

#include <gtest/gtest.h>

#include "io/base/random.h"

namespace terracefs::fs {
namespace {

const Identity kIdentity{"0123abcd-4567-4abc-8def-0123456789ab", "my label", 1'700'000'000'000};

TEST(StoreFilesTest, IdentityComesBackAsItWas) {
  for (const std::string label : {"", "x", "two words", "gr\xc3\xbc\xc3\x9f"}) {
    Identity identity = kIdentity;
    identity.label = label;
    const io::Result<Identity> back = DecodeIdentity(EncodeIdentity(identity));
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(back->uuid, identity.uuid);
    EXPECT_EQ(back->label, label);
    EXPECT_EQ(back->created_ns, identity.created_ns);
  }
}

// fs/FORMAT.md shows these bytes.
TEST(StoreFilesTest, IdentityLooksAsDocumented) {
  EXPECT_EQ(EncodeIdentity(kIdentity),
            "terracefs-identity 1\n"
            "uuid 0123abcd-4567-4abc-8def-0123456789ab\n"
            "label my label\n"
            "created_ns 1700000000000\n"
            "crc32c 10e62ae1\n");
}

TEST(StoreFilesTest, EveryChangedByteIsNoticed) {
  const std::string good = EncodeIdentity(kIdentity);
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {0x01, 0x20, 0x80}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      EXPECT_FALSE(DecodeIdentity(bad).ok()) << i;
    }
  }
}

TEST(StoreFilesTest, ShortLongAndEmptyAreCorruption) {
  const std::string good = EncodeIdentity(kIdentity);
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    const io::Status status = DecodeIdentity(good.substr(0, bytes)).status();
    EXPECT_TRUE(status.Is(io::StatusCode::kCorruption)) << bytes << status.ToString();
  }
  EXPECT_FALSE(DecodeIdentity(good + "\n").ok());
  EXPECT_FALSE(DecodeIdentity(std::string(200, '\0')).ok());
}

TEST(StoreFilesTest, ANewerVersionIsNotDamage) {
  const std::string newer = "terracefs-identity 2\nwhatever comes then";
  const io::Status status = DecodeIdentity(newer).status();
  EXPECT_TRUE(status.Is(io::StatusCode::kNotSupported));
  EXPECT_NE(status.message().find("format version 2"), std::string::npos);
  EXPECT_TRUE(DecodeIdentity("terracefs-identity 0\nx\n").status().Is(io::StatusCode::kCorruption));
}

TEST(StoreFilesTest, OptionsComeBackAndAreNotIdentities) {
  const std::string text = EncodeStoreOptions({123456});
  const io::Result<StoreOptions> back = DecodeStoreOptions(text);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->size_bytes, 123456u);
  EXPECT_FALSE(DecodeIdentity(text).ok());
  EXPECT_FALSE(DecodeStoreOptions(EncodeIdentity(kIdentity)).ok());
}

TEST(StoreFilesTest, RandomBytesNeverDecodeNorCrash) {
  io::Random random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string text = random.OneIn(2) ? "terracefs-identity 1\n" : "";
    const uint64_t bytes = random.Uniform(120);
    for (uint64_t j = 0; j < bytes; ++j) {
      text += random.OneIn(8) ? '\n' : static_cast<char>(random.Next());
    }
    EXPECT_FALSE(DecodeIdentity(text).ok());
    EXPECT_FALSE(DecodeStoreOptions(text).ok());
    DecodeLockHolder(text);
  }
}

TEST(StoreFilesTest, LabelsAreOneShortLine) {
  EXPECT_TRUE(CheckLabel("").ok());
  EXPECT_TRUE(CheckLabel(std::string(64, 'x')).ok());
  EXPECT_FALSE(CheckLabel(std::string(65, 'x')).ok());
  EXPECT_FALSE(CheckLabel("a\nb").ok());
  EXPECT_FALSE(CheckLabel(std::string_view("a\0b", 3)).ok());
}

TEST(StoreFilesTest, UuidsCarryVersionAndVariant) {
  EXPECT_EQ(FormatUuid(0, 0), "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(FormatUuid(UINT64_MAX, UINT64_MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

TEST(StoreFilesTest, LockHoldersComeBackAndCoverLongerOnes) {
  const LockHolder holder{4711, HolderState::kUnmounting, "/a mount/point"};
  const std::string text = EncodeLockHolder(holder);
  const LockHolder back = DecodeLockHolder(text);
  EXPECT_EQ(back.pid, 4711);
  EXPECT_EQ(back.state, HolderState::kUnmounting);
  EXPECT_EQ(back.mountpoint, "/a mount/point");
  EXPECT_EQ(EncodeLockHolder({1, HolderState::kMounted, std::string(4000, 'p')}).size(),
            text.size());
}

TEST(StoreFilesTest, TornLockHoldersSayLittleButAreNoError) {
  EXPECT_EQ(DecodeLockHolder("").pid, 0);
  EXPECT_EQ(DecodeLockHolder("pid x\nstate flying\n").state, HolderState::kUnknown);
  EXPECT_EQ(DecodeLockHolder("pid -5\n").pid, 0);
  EXPECT_EQ(DecodeLockHolder("state mounted").state, HolderState::kMounted);
}

}  // namespace
}  // namespace terracefs::fs
