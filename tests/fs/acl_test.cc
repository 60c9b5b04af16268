// The form of ACLs, and what they say of modes.
#include "fs/acl.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fs/fuse/caller.h"
#include "io/base/coding.h"
#include "io/base/random.h"

namespace terracefs::fs {
namespace {

constexpr uint32_t kNone = 0xffffffff;
constexpr uint16_t kUserObj = 1, kUser = 2, kGroupObj = 4, kGroup = 8, kMask = 16, kOther = 32;

struct Line {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = kNone;
};
std::string Value(const std::vector<Line>& lines, uint32_t version = 2) {
  std::string value;
  io::PutFixed32(&value, version);
  for (const Line& line : lines) {
    io::PutFixed16(&value, line.tag);
    io::PutFixed16(&value, line.permissions);
    io::PutFixed32(&value, line.id);
  }
  return value;
}
int ErrnoOf(const std::string& value) {
  const auto acl = Acl::Decode(value);
  return acl.ok() ? 0 : acl.status().os_errno();
}

const std::vector<Line> kLong = {{kUserObj, 6},  {kUser, 7, 1000}, {kUser, 4, 5}, {kGroupObj, 4},
                                 {kGroup, 6, 0}, {kMask, 5},       {kOther, 1}};

TEST(AclTest, AListComesBackAsItWas) {
  const Acl acl = Acl::Decode(Value(kLong)).value();
  EXPECT_FALSE(acl.empty());
  EXPECT_EQ(acl.Encode(), Value(kLong));
  EXPECT_FALSE(acl.IsMode());
  EXPECT_EQ(acl.ModeBits(), 0651U);
}

TEST(AclTest, AListOfThreeIsAMode) {
  const Acl acl = Acl::Decode(Value({{kUserObj, 7, 0}, {kGroupObj, 5, 9}, {kOther, 0, 1}})).value();
  EXPECT_TRUE(acl.IsMode());
  EXPECT_EQ(acl.ModeBits(), 0750U);
  EXPECT_EQ(acl.Encode(), Value({{kUserObj, 7}, {kGroupObj, 5}, {kOther, 0}}));
  // A mask without named entries still differs from what a mode can say.
  const Acl masked =
      Acl::Decode(Value({{kUserObj, 7}, {kGroupObj, 7}, {kMask, 4}, {kOther, 0}})).value();
  EXPECT_FALSE(masked.IsMode());
  EXPECT_EQ(masked.ModeBits(), 0740U);
}

TEST(AclTest, NothingIsAnEmptyList) {
  EXPECT_TRUE(Acl::Decode("").value().empty());
  EXPECT_TRUE(Acl::Decode(Value({})).value().empty());
}

TEST(AclTest, WhatIsNoListIsRefused) {
  EXPECT_EQ(ErrnoOf("\2"), EINVAL);
  EXPECT_EQ(ErrnoOf(Value(kLong, 3)), EOPNOTSUPP);
  EXPECT_EQ(ErrnoOf(Value(kLong) + "x"), EINVAL);
  const Line u{kUserObj, 7}, g{kGroupObj, 7}, m{kMask, 7}, o{kOther, 7}, user{kUser, 7, 1};
  EXPECT_EQ(ErrnoOf(Value({u, g, o})), 0);
  EXPECT_EQ(ErrnoOf(Value({u, user, user, g, m, o})), 0);  // the kernel does not mind
  for (const std::vector<Line>& wrong :
       std::vector<std::vector<Line>>{{u},
                                      {u, g},
                                      {g, o},
                                      {u, o},
                                      {u, user, g, o},                  // no mask
                                      {u, g, {kGroup, 7, 1}, o},        // no mask
                                      {g, u, o},                        // order
                                      {user, u, g, m, o},               // order
                                      {u, g, user, m, o},               // order
                                      {u, g, o, m},                     // order
                                      {u, u, g, o},                     // twice
                                      {u, g, m, m, o},                  // twice
                                      {u, g, o, o},                     // twice
                                      {u, {kUser, 7, kNone}, g, m, o},  // nobody
                                      {u, {kGroupObj, 8}, o},           // permissions
                                      {u, {3, 7}, o},                   // tag
                                      {u, g, {64, 7}, o}}) {            // tag
    EXPECT_EQ(ErrnoOf(Value(wrong)), EINVAL) << wrong.size();
  }
  EXPECT_EQ(ErrnoOf(Value(std::vector<Line>(512, user))), E2BIG);
}

TEST(AclTest, RandomBytesNeverCrash) {
  io::Random random(11);
  for (int i = 0; i < 20'000; ++i) {
    std::string value = Value(kLong);
    for (uint64_t n = random.Uniform(3); n > 0; --n) {
      value[random.Uniform(value.size())] = static_cast<char>(random.Next());
    }
    value.resize(random.Uniform(value.size() + 1));
    const auto acl = Acl::Decode(value);
    if (acl.ok() && !acl->empty()) {
      EXPECT_EQ(Acl::Decode(acl->Encode())->ModeBits(), acl->ModeBits());
    }
  }
}

TEST(AclTest, ChmodSetsTheMaskOrElseTheGroup) {
  Acl acl = Acl::Decode(Value(kLong)).value();
  acl.SetModeBits(S_IFREG | 02372);
  EXPECT_EQ(acl.Encode(), Value({{kUserObj, 3},
                                 {kUser, 7, 1000},
                                 {kUser, 4, 5},
                                 {kGroupObj, 4},
                                 {kGroup, 6, 0},
                                 {kMask, 7},
                                 {kOther, 2}}));
  Acl mode = Acl::Decode(Value({{kUserObj, 7}, {kGroupObj, 5}, {kOther, 0}})).value();
  mode.SetModeBits(0124);
  EXPECT_EQ(mode.Encode(), Value({{kUserObj, 1}, {kGroupObj, 2}, {kOther, 4}}));
}

TEST(AclTest, WhatIsMadeInADirectoryInherits) {
  const std::string value =
      Value({{kUserObj, 7}, {kUser, 6, 9}, {kGroupObj, 5}, {kMask, 7}, {kOther, 4}});
  const InheritedAcls file = InheritFrom(value, S_IFREG | 04666).value();
  EXPECT_EQ(file.mode, static_cast<uint32_t>(S_IFREG | 04664));
  EXPECT_EQ(file.access,
            Value({{kUserObj, 6}, {kUser, 6, 9}, {kGroupObj, 5}, {kMask, 6}, {kOther, 4}}));
  EXPECT_EQ(file.fallback, "");
  const InheritedAcls directory = InheritFrom(value, S_IFDIR | 0700).value();
  EXPECT_EQ(directory.mode, static_cast<uint32_t>(S_IFDIR | 0700));
  EXPECT_EQ(directory.access,
            Value({{kUserObj, 7}, {kUser, 6, 9}, {kGroupObj, 5}, {kMask, 0}, {kOther, 0}}));
  EXPECT_EQ(directory.fallback, value);
  const std::string plain = Value({{kUserObj, 7}, {kGroupObj, 5}, {kOther, 0}});
  const InheritedAcls simple = InheritFrom(plain, S_IFDIR | 0777).value();
  EXPECT_EQ(simple.mode, static_cast<uint32_t>(S_IFDIR | 0750));
  EXPECT_EQ(simple.access, "");
  EXPECT_EQ(simple.fallback, plain);
}

TEST(CallerTest, MembersAndThePrivilegedKeepSetgid) {
  const std::string status =
      "Name:\tsetfacl\nGid:\t1\t2\t3\t4\nGroups:\t5 60 \nCapInh:\t0000000000000000\n"
      "CapEff:\t0000000000000000\n";
  for (const uint32_t member : {4U, 5U, 60U}) EXPECT_TRUE(StatusAllowsSetgid(status, member));
  for (const uint32_t other : {0U, 1U, 2U, 3U, 6U}) EXPECT_FALSE(StatusAllowsSetgid(status, other));
  EXPECT_TRUE(StatusAllowsSetgid("CapEff:\t0000000000000010\n", 9));
  EXPECT_FALSE(StatusAllowsSetgid("CapEff:\t000001ffffffffef\nGroups:\t \n", 9));
  EXPECT_FALSE(StatusAllowsSetgid("", 0));
  EXPECT_FALSE(MayKeepSetgid(0, 0));
  EXPECT_TRUE(MayKeepSetgid(static_cast<uint32_t>(getpid()), getgid()));
}

}  // namespace
}  // namespace terracefs::fs
