#include "io/request_progress.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

namespace terracefs::io {
namespace {

using Step = IoRequest::Step;

class RequestProgressTest : public ::testing::Test {
 protected:
  IoRequest Request(IoRequest::Kind kind, uint64_t offset, size_t bytes) {
    IoRequest request;
    request.kind = kind;
    request.offset = offset;
    request.bytes = bytes;
    request.data = memory_.data();
    return request;
  }
  bool Take(IoRequest& request, int64_t answer) {
    return TakeAnswer(request, answer, traits_, stats_);
  }
  KernelCall Next(IoRequest& request) { return NextCall(request, traits_); }

  std::vector<std::byte> memory_ = std::vector<std::byte>(64 * 1024);
  FileTraits traits_{"file"};
  StorageStats stats_;
};

TEST_F(RequestProgressTest, ShortTransfersGoOnWithTheRest) {
  for (const IoRequest::Kind kind : {IoRequest::Kind::kRead, IoRequest::Kind::kWrite}) {
    IoRequest request = Request(kind, 1000, 100);
    KernelCall call = Next(request);
    EXPECT_EQ(call.offset, 1000U);
    EXPECT_EQ(call.bytes, 100U);
    EXPECT_TRUE(call.is_last);
    EXPECT_FALSE(Take(request, 30));
    call = Next(request);
    EXPECT_EQ(call.offset, 1030U);
    EXPECT_EQ(call.bytes, 70U);
    EXPECT_EQ(call.data, memory_.data() + 30);
    EXPECT_TRUE(Take(request, 70));
    EXPECT_TRUE(request.status.ok());
    EXPECT_TRUE(request.done);
  }
  EXPECT_EQ(stats_.bytes_read, 100U);
  EXPECT_EQ(stats_.bytes_written, 100U);
  EXPECT_EQ(stats_.fsyncs, 0U);
}

TEST_F(RequestProgressTest, ReadAtTheEndOfTheFileIsAnError) {
  IoRequest request = Request(IoRequest::Kind::kRead, 0, 100);
  Next(request);
  EXPECT_FALSE(Take(request, 60));
  Next(request);
  EXPECT_TRUE(Take(request, 0));
  EXPECT_TRUE(request.status.Is(StatusCode::kIoError));
  EXPECT_NE(request.status.message().find("short read"), std::string::npos);
}

TEST_F(RequestProgressTest, DirectReadThatEndsInsideABlockIsTheEndOfTheFile) {
  traits_.bypasses_cache = true;
  IoRequest request = Request(IoRequest::Kind::kRead, 0, 8192);
  Next(request);
  EXPECT_TRUE(Take(request, 5000));
  EXPECT_NE(request.status.message().find("short read"), std::string::npos);
}

TEST_F(RequestProgressTest, DirectWriteRepeatsTheBlockThatWasCut) {
  traits_.bypasses_cache = true;
  IoRequest request = Request(IoRequest::Kind::kWrite, 4096, 8192);
  Next(request);
  EXPECT_FALSE(Take(request, 1000));
  const KernelCall call = Next(request);
  EXPECT_EQ(call.offset, 4096U + 512);
  EXPECT_EQ(call.bytes, 8192U - 512);
  EXPECT_TRUE(Take(request, call.bytes));
  EXPECT_TRUE(request.status.ok());
}

TEST_F(RequestProgressTest, InterruptedAndStarvedCallsAreRepeatedButNotForEver) {
  for (const int error : {EINTR, EAGAIN, ENOMEM, EBUSY, ECANCELED}) {
    IoRequest request = Request(IoRequest::Kind::kWrite, 0, 100);
    Next(request);
    EXPECT_FALSE(Take(request, -error));
    Next(request);
    EXPECT_TRUE(Take(request, 100));
    EXPECT_TRUE(request.status.ok());

    IoRequest stuck = Request(IoRequest::Kind::kRead, 0, 100);
    int asked_count = 0;
    do {
      Next(stuck);
      ASSERT_LT(++asked_count, 100'000);
    } while (!Take(stuck, -error));
    EXPECT_EQ(stuck.status.os_errno(), error);
  }
  IoRequest stuck = Request(IoRequest::Kind::kWrite, 0, 100);
  int asked_count = 0;
  do {
    Next(stuck);
    ASSERT_LT(++asked_count, 100'000);
  } while (!Take(stuck, 0));
  EXPECT_FALSE(stuck.status.ok());
}

TEST_F(RequestProgressTest, OtherErrorsEndTheRequestAtOnce) {
  IoRequest request = Request(IoRequest::Kind::kWrite, 0, 100);
  Next(request);
  EXPECT_TRUE(Take(request, -EIO));
  EXPECT_TRUE(request.status.Is(StatusCode::kIoError));
  EXPECT_EQ(request.status.os_errno(), EIO);
  IoRequest full = Request(IoRequest::Kind::kWrite, 0, 100);
  Next(full);
  EXPECT_TRUE(Take(full, -ENOSPC));
  EXPECT_TRUE(full.status.Is(StatusCode::kNoSpace));
}

// The kernel tells of a failed write-back once; asking again would get a false "ok".
TEST_F(RequestProgressTest, SyncsAreNeverRepeatedAfterAnErrorThatMayHaveConsumedOne) {
  for (const int error : {EINTR, ENOMEM, EBUSY, EIO}) {
    IoRequest sync = Request(IoRequest::Kind::kSync, 0, 0);
    EXPECT_EQ(Next(sync).step, Step::kSync);
    EXPECT_TRUE(Take(sync, -error));
    EXPECT_FALSE(sync.status.ok());

    IoRequest durable = Request(IoRequest::Kind::kWrite, 0, 100);
    durable.durable = true;
    EXPECT_EQ(Next(durable).step, Step::kWriteThrough);
    EXPECT_TRUE(Take(durable, -error));
    EXPECT_FALSE(durable.status.ok());
  }
  EXPECT_EQ(stats_.fsyncs, 0U);
}

TEST_F(RequestProgressTest, DurableWriteCountsAsOneSync) {
  IoRequest request = Request(IoRequest::Kind::kWrite, 0, 100);
  request.durable = true;
  EXPECT_EQ(Next(request).step, Step::kWriteThrough);
  EXPECT_FALSE(Take(request, 50));
  const KernelCall call = Next(request);
  EXPECT_EQ(call.step, Step::kWriteThrough);
  EXPECT_TRUE(call.is_last);
  EXPECT_TRUE(Take(request, 50));
  EXPECT_EQ(stats_.fsyncs, 1U);
}

TEST_F(RequestProgressTest, WithoutWriteThroughADurableWriteIsAWriteAndASync) {
  IoRequest request = Request(IoRequest::Kind::kWrite, 0, 100);
  request.durable = true;
  EXPECT_EQ(Next(request).step, Step::kWriteThrough);
  EXPECT_FALSE(Take(request, -EOPNOTSUPP));

  KernelCall call = Next(request);
  EXPECT_EQ(call.step, Step::kWrite);
  EXPECT_FALSE(call.is_last);
  EXPECT_FALSE(Take(request, 100));
  EXPECT_FALSE(request.done);
  call = Next(request);
  EXPECT_EQ(call.step, Step::kSync);
  EXPECT_TRUE(call.is_last);
  EXPECT_TRUE(Take(request, 0));
  EXPECT_TRUE(request.status.ok());
  EXPECT_EQ(stats_.fsyncs, 1U);

  // The file remembers.
  IoRequest second = Request(IoRequest::Kind::kWrite, 0, 100);
  second.durable = true;
  EXPECT_EQ(Next(second).step, Step::kWrite);
}

// Two requests in flight: the first refusal must not make the second one's look like an error.
TEST_F(RequestProgressTest, ARefusalOfWriteThroughIsUnderstoodByEveryRequestInFlight) {
  IoRequest first = Request(IoRequest::Kind::kWrite, 0, 100);
  IoRequest second = first;
  first.durable = second.durable = true;
  Next(first);
  Next(second);
  EXPECT_FALSE(Take(first, -EOPNOTSUPP));
  EXPECT_FALSE(Take(second, -EOPNOTSUPP));
  EXPECT_EQ(Next(second).step, Step::kWrite);
}

TEST_F(RequestProgressTest, AFailedSyncFailsTheDurableWrite) {
  traits_.write_through = false;
  IoRequest request = Request(IoRequest::Kind::kWrite, 0, 100);
  request.durable = true;
  Next(request);
  EXPECT_FALSE(Take(request, 100));
  Next(request);
  EXPECT_TRUE(Take(request, -EIO));
  EXPECT_EQ(request.status.os_errno(), EIO);
  EXPECT_EQ(stats_.fsyncs, 0U);
}

TEST_F(RequestProgressTest, HugeRequestsTakeSeveralCallsAndNoneIsTakenForTheLast) {
  IoRequest request = Request(IoRequest::Kind::kRead, 0, size_t{3} << 30);
  const KernelCall call = Next(request);
  EXPECT_LT(call.bytes, uint32_t{1} << 31);
  EXPECT_FALSE(call.is_last);
  EXPECT_FALSE(Take(request, call.bytes));
  EXPECT_EQ(Next(request).offset, call.bytes);
}

TEST_F(RequestProgressTest, EmptyTransfersAreDoneAtOnce) {
  IoRequest read = Request(IoRequest::Kind::kRead, 0, 0);
  Next(read);
  EXPECT_TRUE(Take(read, 0));
  EXPECT_TRUE(read.status.ok());
  IoRequest write = Request(IoRequest::Kind::kWrite, 0, 0);
  Next(write);
  EXPECT_TRUE(Take(write, 0));
  EXPECT_TRUE(write.status.ok());
}

}  // namespace
}  // namespace terracefs::io
