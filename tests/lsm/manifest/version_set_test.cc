#include "lsm/manifest/version_set.h"

#include <gtest/gtest.h>

#include <functional>

#include "lsm/file_names.h"
#include "lsm/manifest/manifest_format.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm {
namespace {

using compaction_test::MakeTable;
using compaction_test::Numbers;
using compaction_test::TableSpec;
using testing::CrashMode;
using testing::FaultEffect;
using testing::FaultOperation;
using FileNumbers = std::vector<FileNumber>;

class VersionSetTest : public ::testing::Test {
 protected:
  VersionSetTest() : storage_(std::make_unique<testing::SimStorage>()) {
    EXPECT_TRUE(VersionSet::Create(*storage_).ok());
    Open();
  }

  void Open() {
    set_ = std::make_unique<VersionSet>(*storage_);
    const io::Status status = set_->Recover(false);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  void CrashAndOpen() {
    auto left = storage_->CrashClone(1, CrashMode::kLoseAllUnsynced);
    set_.reset();
    storage_ = std::move(left);
    Open();
  }
  io::Status OpenStatus(bool read_only = false) {
    set_ = std::make_unique<VersionSet>(*storage_);
    return set_->Recover(read_only);
  }

  // The file that a table's meta promises.
  FileRef PutTable(const TableSpec& spec) {
    storage_->PutContents(FileName(FileKind::kTable, spec.number),
                          std::string(spec.file_bytes, 't'));
    set_->MarkNumberUsed(spec.number);
    return MakeTable(spec);
  }
  io::Status Add(int level, const FileRef& file) {
    VersionEdit edit;
    edit.added_files = {{level, file}};
    return set_->LogAndApply(std::move(edit), nullptr);
  }
  io::Status AddDrop(const std::string& begin, const std::string& end, SequenceNumber sequence) {
    VersionEdit edit;
    edit.added_drops = {{begin, end, sequence, 100}};
    return set_->LogAndApply(std::move(edit), nullptr);
  }
  size_t InjectOnce(FaultOperation operation, const std::string& name_part, io::Status status,
                    FaultEffect effect = FaultEffect::kNothing) {
    return storage_->faults().Add({operation, name_part, 0, 1, std::move(status), effect});
  }
  std::string ManifestName() { return FileName(FileKind::kManifest, set_->manifest_number()); }
  std::vector<std::string> Manifests() {
    std::vector<std::string> manifests;
    const auto names = storage_->List();
    for (const std::string& name : *names) {
      if (name.starts_with("MANIFEST")) manifests.push_back(name);
    }
    return manifests;
  }
  // Edits with long keys until the manifest has been replaced; the last one's status.
  io::Status GrowUntilReplaced(const std::function<void()>& arm) {
    const std::string long_key(60'000, 'x');
    for (FileNumber n = 0; n < 200; ++n) {
      // Long before the record that goes over the limit and brings the new manifest with it.
      if (n == 10) arm();
      FileRef file = PutTable({set_->NewFileNumber(), "a" + long_key, "b" + long_key});
      VersionEdit edit;
      edit.added_files = {{5, file}};
      for (const FileRef& old : set_->current()->files(5))
        edit.removed_files.push_back({5, old->number});
      const FileNumber before = set_->manifest_number();
      TRY(set_->LogAndApply(std::move(edit), nullptr));
      if (set_->manifest_number() != before) return io::Status::Ok();
      if (n >= 10 && storage_->faults().injected_count() > 0) return io::Status::Ok();
    }
    return io::Status::Busy("never replaced");
  }

  std::unique_ptr<testing::SimStorage> storage_;
  std::unique_ptr<VersionSet> set_;
};

const io::Status kEio = io::Status::IoError("injected", {}, EIO);
const io::Status kEnospc = io::Status::NoSpace("injected");

TEST_F(VersionSetTest, CreateRefusesAStoreInUse) {
  EXPECT_TRUE(VersionSet::Create(*storage_).Is(io::StatusCode::kBusy));
}

TEST_F(VersionSetTest, WithoutCurrentThereIsNoEngine) {
  testing::SimStorage empty;
  VersionSet set(empty);
  EXPECT_TRUE(set.Recover(false).Is(io::StatusCode::kNotFound));
}

TEST_F(VersionSetTest, AnInstalledEditSurvivesACrash) {
  VersionEdit edit;
  edit.added_files = {{0, PutTable({20, "a", "c"})}, {3, PutTable({21, "b", "d"})}};
  edit.log_number = 17;
  edit.last_sequence = 500;
  edit.counters.emplace();
  (*edit.counters)[3] = -9;
  std::shared_ptr<const Version> hooked;
  ASSERT_TRUE(set_->LogAndApply(edit, [&](const auto& version) { hooked = version; }).ok());
  EXPECT_EQ(hooked, set_->current());
  ASSERT_TRUE(AddDrop("x", "y", 400).ok());
  EXPECT_EQ(Manifests(), (std::vector<std::string>{ManifestName()}));
  CrashAndOpen();
  EXPECT_EQ(Numbers(set_->current()->files(0)), (FileNumbers{20}));
  EXPECT_EQ(Numbers(set_->current()->files(3)), (FileNumbers{21}));
  EXPECT_EQ(set_->log_number(), 17U);
  EXPECT_EQ(set_->last_sequence(), 500U);
  EXPECT_EQ(set_->counters()[3], -9);
  EXPECT_TRUE(set_->shape().drops->Covers("x"));
  EXPECT_EQ(set_->shape().drop_sequence, 400U);
  EXPECT_GT(set_->NewFileNumber(), 21U);
}

TEST_F(VersionSetTest, ATornLastRecordIsDropped) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
  ASSERT_TRUE(Add(1, PutTable({21, "c", "d"})).ok());
  const std::string name = ManifestName();
  const std::string whole = *storage_->Contents(name);
  const size_t end = whole.find_last_not_of('\0') + 1;
  const size_t last = whole.rfind("TMN1");
  ASSERT_GT(last, 0U);
  for (size_t cut = last; cut < end; ++cut) {
    // Short, or with zeros where the rest was not written.
    std::string torn = whole.substr(0, cut);
    if (cut % 2 == 0) torn.resize(whole.size());
    storage_->PutContents(name, torn);
    ASSERT_TRUE(OpenStatus(true).ok()) << "cut at " << cut;
    ASSERT_EQ(Numbers(set_->current()->files(1)), (FileNumbers{20})) << "cut at " << cut;
  }
}

TEST_F(VersionSetTest, DamageBeforeTheLastRecordIsCorruption) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
  ASSERT_TRUE(Add(1, PutTable({21, "c", "d"})).ok());
  const std::string name = ManifestName();
  const std::string whole = *storage_->Contents(name);
  const size_t last = whole.rfind("TMN1");
  size_t harmless = 0;
  for (size_t offset = 0; offset < last; ++offset) {
    std::string damaged = whole;
    damaged[offset] = static_cast<char>(damaged[offset] ^ 0x40);
    storage_->PutContents(name, damaged);
    const io::Status status = OpenStatus(true);
    if (status.ok()) {
      ++harmless;
      EXPECT_EQ(whole[offset], '\0') << "only padding is not looked at: " << offset;
    } else {
      ASSERT_TRUE(status.Is(io::StatusCode::kCorruption)) << offset << ": " << status.ToString();
    }
  }
  EXPECT_LT(harmless, 3 * kManifestAlignment);
}

TEST_F(VersionSetTest, AFailedOpenChangesNothing) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
  storage_->CorruptByte(ManifestName(), 20);
  const auto names = storage_->List();
  const uint64_t io_count = storage_->io_count();
  EXPECT_TRUE(OpenStatus().Is(io::StatusCode::kCorruption));
  EXPECT_EQ(*storage_->List(), *names);
  EXPECT_EQ(storage_->io_count(), io_count);
}

TEST_F(VersionSetTest, AManifestOfNothingIsCorruption) {
  storage_->PutContents(ManifestName(), "");
  EXPECT_TRUE(OpenStatus().Is(io::StatusCode::kCorruption));
  storage_->PutContents(ManifestName(), std::string(4096, '\0'));
  EXPECT_TRUE(OpenStatus().Is(io::StatusCode::kCorruption));
}

TEST_F(VersionSetTest, CurrentIsReadWithCare) {
  struct Case {
    std::string contents;
    io::StatusCode code;
  };
  const Case cases[] = {
      {"", io::StatusCode::kCorruption},
      {"rocksdb\n", io::StatusCode::kCorruption},
      {"terracefs-lsm 4\n", io::StatusCode::kCorruption},
      {"terracefs-lsm 4\nMANIFEST-000002", io::StatusCode::kCorruption},
      {"terracefs-lsm 4\nMANIFEST-000002\nmore\n", io::StatusCode::kCorruption},
      {"terracefs-lsm 4\n000002.sst\n", io::StatusCode::kCorruption},
      {"terracefs-lsm 4\n../MANIFEST-000002\n", io::StatusCode::kCorruption},
      {"terracefs-lsm 3\nMANIFEST-000002\n", io::StatusCode::kNotSupported},
      {"terracefs-lsm 40\nMANIFEST-000002\n", io::StatusCode::kNotSupported},
      {std::string(300, 'x'), io::StatusCode::kCorruption},
  };
  for (const Case& c : cases) {
    storage_->PutContents(kCurrentFileName, c.contents);
    const io::Status status = OpenStatus();
    EXPECT_EQ(status.code(), c.code) << c.contents << ": " << status.ToString();
    if (c.code != io::StatusCode::kNotSupported) continue;
    // Says which it is.
    EXPECT_NE(status.ToString().find(c.contents.substr(0, c.contents.find('\n'))),
              std::string::npos)
        << status.ToString();
  }
  storage_->PutContents(kCurrentFileName, "terracefs-lsm 4\nMANIFEST-000099\n");
  EXPECT_FALSE(OpenStatus().ok()) << "names a manifest that is not there";
}

TEST_F(VersionSetTest, AMissingOrShortTableIsFoundAtOpen) {
  ASSERT_TRUE(Add(4, PutTable({20, "a", "b"})).ok());
  storage_->PutContents("000020.sst", std::string(999, 't'));
  io::Status status = OpenStatus();
  EXPECT_TRUE(status.Is(io::StatusCode::kCorruption)) << status.ToString();
  EXPECT_NE(status.ToString().find("000020.sst"), std::string::npos);
  ASSERT_TRUE(storage_->Remove("000020.sst").ok());
  status = OpenStatus();
  EXPECT_TRUE(status.Is(io::StatusCode::kCorruption)) << status.ToString();
  EXPECT_TRUE(OpenStatus(true).Is(io::StatusCode::kCorruption));
}

TEST_F(VersionSetTest, ReadOnlyChangesNothing) {
  ASSERT_TRUE(Add(4, PutTable({20, "a", "b"})).ok());
  const uint64_t io_count = storage_->io_count();
  ASSERT_TRUE(OpenStatus(true).ok());
  EXPECT_EQ(Numbers(set_->current()->files(4)), (FileNumbers{20}));
  EXPECT_EQ(storage_->io_count(), io_count);
}

TEST_F(VersionSetTest, AnEditThatDoesNotFitIsRefusedAndNotSticky) {
  VersionEdit edit;
  edit.removed_files = {{1, 99}};
  EXPECT_TRUE(set_->LogAndApply(edit, nullptr).Is(io::StatusCode::kCorruption));
  EXPECT_TRUE(set_->error().ok());
  EXPECT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
}

// C1.
TEST_F(VersionSetTest, CompactPointersSurviveACrashAndANewManifest) {
  VersionEdit edit;
  edit.compact_pointers = {{1, "m"}, {4, "x"}};
  ASSERT_TRUE(set_->LogAndApply(std::move(edit), nullptr).ok());
  CompactPointers expected;
  expected[1] = "m";
  expected[4] = "x";
  EXPECT_EQ(set_->compact_pointers(), expected);
  CrashAndOpen();  // from the record; writes a snapshot
  EXPECT_EQ(set_->compact_pointers(), expected);
  VersionEdit later;
  later.compact_pointers = {{1, ""}, {2, "b"}};
  ASSERT_TRUE(set_->LogAndApply(std::move(later), nullptr).ok());
  expected[1] = "";
  expected[2] = "b";
  CrashAndOpen();
  CrashAndOpen();  // from the snapshot
  EXPECT_EQ(set_->compact_pointers(), expected);
}

TEST_F(VersionSetTest, AFailedWriteOrSyncIsSticky) {
  for (const FaultOperation operation : {FaultOperation::kWrite, FaultOperation::kSync}) {
    for (const FaultEffect effect : {FaultEffect::kNothing, FaultEffect::kAll}) {
      InjectOnce(operation, "MANIFEST", kEio, effect);
      const auto before = set_->current();
      const FileRef table = PutTable({set_->NewFileNumber(), "a", "b"});
      EXPECT_FALSE(Add(0, table).ok());
      EXPECT_EQ(set_->current(), before) << "not installed";
      EXPECT_TRUE(set_->error().Is(io::StatusCode::kIoError));
      EXPECT_TRUE(Add(0, PutTable({set_->NewFileNumber(), "c", "d"})).Is(io::StatusCode::kIoError));
      Open();
      EXPECT_TRUE(Add(0, PutTable({set_->NewFileNumber(), "e", "f"})).ok());
    }
  }
}

TEST_F(VersionSetTest, AFullDiskIsMetBeforeAnythingIsWritten) {
  InjectOnce(FaultOperation::kAllocate, "MANIFEST", kEnospc);
  const FileRef table = PutTable({20, "a", "b"});
  EXPECT_TRUE(Add(0, table).Is(io::StatusCode::kNoSpace));
  EXPECT_TRUE(set_->error().ok());
  EXPECT_TRUE(Add(0, table).ok());
}

TEST_F(VersionSetTest, AGrownManifestIsReplaced) {
  const FileNumber before = set_->manifest_number();
  ASSERT_TRUE(GrowUntilReplaced([] {}).ok());
  EXPECT_NE(set_->manifest_number(), before);
  EXPECT_EQ(Manifests(), (std::vector<std::string>{ManifestName()}));
  const auto files = Numbers(set_->current()->files(5));
  ASSERT_EQ(files.size(), 1U);
  CrashAndOpen();
  EXPECT_EQ(Numbers(set_->current()->files(5)), files);
}

// Wherever replacing the manifest fails: as long as CURRENT surely names the old one, it goes on,
// and nothing is left of the new one. If CURRENT was renamed but not durably, no edit may follow:
// it would be in one of the two, and the next open might read the other.
TEST_F(VersionSetTest, AFailedReplacementGoesOnOnlyIfCurrentIsCertain) {
  struct Case {
    FaultOperation operation;
    const char* name_part;
    FaultEffect effect;
    uint64_t pass_count;
    bool in_doubt;
  };
  const Case cases[] = {
      {FaultOperation::kCreate, "MANIFEST", FaultEffect::kNothing, 0, false},
      {FaultOperation::kSyncDirectory, "", FaultEffect::kNothing, 0, false},
      {FaultOperation::kCreate, "CURRENT", FaultEffect::kNothing, 0, false},
      {FaultOperation::kWrite, "CURRENT", FaultEffect::kHalf, 0, false},
      {FaultOperation::kSync, "CURRENT", FaultEffect::kNothing, 0, false},
      {FaultOperation::kRename, "CURRENT", FaultEffect::kNothing, 0, false},
      {FaultOperation::kRename, "CURRENT", FaultEffect::kAll, 0, true},
      {FaultOperation::kSyncDirectory, "", FaultEffect::kNothing, 1, true},
      {FaultOperation::kSyncDirectory, "", FaultEffect::kAll, 1, true},
  };
  for (const io::Status& error : {kEio, kEnospc}) {
    for (const Case& c : cases) {
      SCOPED_TRACE("operation " + std::to_string(static_cast<int>(c.operation)) + " " +
                   c.name_part + " effect " + std::to_string(static_cast<int>(c.effect)) + ": " +
                   error.ToString());
      storage_ = std::make_unique<testing::SimStorage>();
      ASSERT_TRUE(VersionSet::Create(*storage_).ok());
      Open();
      const std::string old_manifest = ManifestName();
      const io::Status grown = GrowUntilReplaced([&] {
        storage_->faults().Add({c.operation, c.name_part, c.pass_count, 1, error, c.effect});
      });
      ASSERT_TRUE(grown.ok()) << grown.ToString();
      ASSERT_EQ(storage_->faults().injected_count(), 1U);
      EXPECT_EQ(ManifestName(), old_manifest) << "the edit itself was durable before";
      EXPECT_EQ(set_->error().ok(), !c.in_doubt) << set_->error().ToString();
      if (!c.in_doubt) {
        EXPECT_EQ(Manifests(), (std::vector<std::string>{old_manifest}));
      }
      // The next edit is refused, or survives whatever the crash does to the names.
      const FileRef table = PutTable({set_->NewFileNumber(), "k", "l"});
      const bool added = Add(0, table).ok();
      EXPECT_EQ(added, !c.in_doubt);
      const auto files = Numbers(set_->current()->files(5));
      for (const CrashMode mode : {CrashMode::kLoseAllUnsynced, CrashMode::kKeepAll}) {
        const auto left = storage_->CrashClone(1, mode);
        VersionSet after(*left);
        const io::Status opened = after.Recover(false);
        ASSERT_TRUE(opened.ok()) << opened.ToString();
        EXPECT_EQ(Numbers(after.current()->files(5)), files);
        EXPECT_EQ(after.current()->files(0).size(), added ? 1U : 0U);
      }
    }
  }
}

TEST_F(VersionSetTest, ATableIsObsoleteWhenItsLastReaderIsGone) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
  std::shared_ptr<const Version> reader = set_->current();
  VersionEdit edit;
  edit.removed_files = {{1, 20}};
  ASSERT_TRUE(set_->LogAndApply(std::move(edit), nullptr).ok());
  EXPECT_TRUE(set_->obsolete_tables()->TakeAll().empty());
  reader.reset();
  EXPECT_EQ(set_->obsolete_tables()->TakeAll(), (FileNumbers{20}));
}

TEST_F(VersionSetTest, AMovedTableIsNotObsolete) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "b"})).ok());
  VersionEdit edit;
  edit.removed_files = {{1, 20}};
  edit.added_files = {{2, set_->current()->files(1)[0]}};
  ASSERT_TRUE(set_->LogAndApply(std::move(edit), nullptr).ok());
  CrashAndOpen();
  EXPECT_TRUE(set_->obsolete_tables()->TakeAll().empty());
  EXPECT_EQ(Numbers(set_->current()->files(2)), (FileNumbers{20}));
}

TEST_F(VersionSetTest, TablesOlderThanADropThatMeetsThemAreMarked) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "c"})).ok());
  ASSERT_TRUE(Add(1, PutTable({21, "d", "f"})).ok());
  ASSERT_TRUE(AddDrop("c", "d", 900).ok());
  const auto pending = [&](size_t i) {
    return set_->current()->files(1)[i]->drop_pending_since_seconds.load();
  };
  EXPECT_EQ(pending(0), 100);
  EXPECT_EQ(pending(1), 0) << "the end of a range is alive";
  EXPECT_TRUE(set_->DropsToRetire().empty());
  // A table that was being written when the drop came is marked as it arrives; one written after is
  // not.
  TableSpec before{22, "b", "cc"};
  before.drop_sequence = 899;
  ASSERT_TRUE(Add(2, PutTable(before)).ok());
  TableSpec after{23, "c", "cc"};
  after.drop_sequence = 900;
  ASSERT_TRUE(Add(3, PutTable(after)).ok());
  EXPECT_EQ(set_->current()->files(2)[0]->drop_pending_since_seconds.load(), 100);
  EXPECT_EQ(set_->current()->files(3)[0]->drop_pending_since_seconds.load(), 0);
  CrashAndOpen();
  EXPECT_EQ(pending(0), 100) << "also after a restart";
  EXPECT_EQ(set_->current()->files(3)[0]->drop_pending_since_seconds.load(), 0);
}

TEST_F(VersionSetTest, ADropIsRetiredWhenNoOlderTableMeetsItAndThenForgotten) {
  ASSERT_TRUE(Add(1, PutTable({20, "a", "c"})).ok());
  ASSERT_TRUE(AddDrop("b", "bb", 900).ok());
  ASSERT_TRUE(AddDrop("x", "y", 901).ok());
  VersionEdit edit;
  edit.retired_drops = set_->DropsToRetire();
  ASSERT_EQ(edit.retired_drops.size(), 1U);
  EXPECT_EQ(edit.retired_drops[0].begin, "x");
  ASSERT_TRUE(set_->LogAndApply(std::move(edit), nullptr).ok());
  EXPECT_FALSE(set_->shape().drops->Covers("x")) << "memory must not grow with every deletion ever";
  EXPECT_TRUE(set_->shape().drops->Covers("b"));
  EXPECT_EQ(set_->shape().drop_sequence, 901U);
  CrashAndOpen();
  EXPECT_FALSE(set_->shape().drops->Covers("x"));
  EXPECT_TRUE(set_->shape().drops->Covers("b"));
  TableSpec rewritten{30, "a", "c"};
  rewritten.drop_sequence = 900;
  edit = {};
  edit.removed_files = {{1, 20}};
  edit.added_files = {{1, PutTable(rewritten)}};
  ASSERT_TRUE(set_->LogAndApply(std::move(edit), nullptr).ok());
  EXPECT_EQ(set_->DropsToRetire().size(), 1U);
}

TEST_F(VersionSetTest, NumbersNeverGoBack) {
  const FileNumber last = set_->NewFileNumber();
  ASSERT_TRUE(Add(1, PutTable({last, "a", "b"})).ok());
  CrashAndOpen();
  EXPECT_GT(set_->NewFileNumber(), last);
  set_->MarkNumberUsed(1000);
  set_->MarkNumberUsed(10);
  EXPECT_EQ(set_->NewFileNumber(), 1001U);
}

}  // namespace
}  // namespace terracefs::lsm
