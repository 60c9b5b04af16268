#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/base/mutex.h"
#include "io/storage.h"
#include "lsm/drop_ranges.h"
#include "lsm/manifest/version.h"

namespace terracefs::lsm {

// What every job reads together: the tables and the dead ranges known durable with them.
struct Shape {
  std::shared_ptr<const Version> version;
  std::shared_ptr<const DropRangeSet> drops;
  // `drops` holds every drop up to it but those that no table needs any more.
  SequenceNumber drop_sequence = 0;
};

using CompactPointers = std::array<std::string, kLevelCount>;

// The current version and the manifest behind it. Changes are serialised by an internal lock held
// across the manifest write; reading the current shape never waits for I/O. Safe from any thread.
class VersionSet {
 public:
  explicit VersionSet(io::Storage& storage);

  // Writes the first manifest and CURRENT into an empty store.
  static io::Status Create(io::Storage& storage);
  // Reads CURRENT and its manifest. Unless `read_only`, begins a new manifest. NotFound if there is
  // no CURRENT; Corruption for damage, also for a table that is missing or has the wrong size.
  io::Status Recover(bool read_only);

  // Makes `edit` durable in the manifest, then current. The removed files' memory goes to the
  // obsolete list when their last reader is gone. After a failed manifest write the set refuses
  // every further change with the same error (what is on disk is not known) until reopened; NoSpace
  // before anything was written is not sticky. `on_install` (may be null) gets the new version at
  // the moment it becomes current, under the set's short lock: it must not block.
  using InstallHook = std::function<void(const std::shared_ptr<const Version>&)>;
  io::Status LogAndApply(VersionEdit edit, const InstallHook& on_install)
      EXCLUDES(manifest_mutex_, mutex_);

  Shape shape() const EXCLUDES(mutex_);
  std::shared_ptr<const Version> current() const EXCLUDES(mutex_) { return shape().version; }

  FileNumber NewFileNumber() { return next_file_number_.fetch_add(1); }
  // Numbers seen on disk must not be handed out again.
  void MarkNumberUsed(FileNumber number);
  FileNumber log_number() const EXCLUDES(mutex_);
  uint64_t log_secret() const EXCLUDES(mutex_);  // as for WalSalt
  FileNumber manifest_number() const EXCLUDES(mutex_);
  SequenceNumber last_sequence() const EXCLUDES(mutex_);  // everything up to it is in tables
  std::array<int64_t, kCounterCount> counters() const EXCLUDES(mutex_);
  CompactPointers compact_pointers() const EXCLUDES(mutex_);
  // First error of a manifest write; ok if none.
  io::Status error() const EXCLUDES(mutex_);
  const std::shared_ptr<ObsoleteTables>& obsolete_tables() const { return obsolete_; }
  // Drops that no table needs any more: for each, every overlapping table was written after it was
  // known. To be put into an edit's retired_drops.
  std::vector<VersionEdit::RetiredDrop> DropsToRetire() const;

 private:
  struct State {
    std::shared_ptr<const Version> version = Version::Empty();
    std::shared_ptr<const DropRangeSet> drops = std::make_shared<const DropRangeSet>();
    SequenceNumber drop_sequence = 0;
    FileNumber log_number = 0;
    uint64_t log_secret = 0;
    SequenceNumber last_sequence = 0;
    std::array<int64_t, kCounterCount> counters{};
    CompactPointers compact_pointers;
  };

  struct Manifest {
    std::unique_ptr<io::File> file;
    uint64_t offset = 0;  // where the next record goes
    uint64_t snapshot_bytes = 0;
    uint64_t allocated_bytes = 0;
  };

  io::Status ReadManifest(std::string_view contents, State* state);
  static io::Status ApplyTo(State* state, const VersionEdit& edit);
  // Writes `state` to a new manifest and makes CURRENT name it. After an error the old manifest
  // goes on; but if `*current_in_doubt` was set, CURRENT may name either, and nothing may be added
  // to them.
  io::Status BeginManifest(const State& state, bool* current_in_doubt) REQUIRES(manifest_mutex_);
  io::Result<Manifest> WriteSnapshot(const State& state, FileNumber number);
  io::Status CheckTables(const Version& version);
  io::Status AppendRecord(std::string_view payload, bool* touched) REQUIRES(manifest_mutex_);
  static VersionEdit SnapshotOf(const State& state, FileNumber next_file_number);

  io::Storage& storage_;
  const std::shared_ptr<ObsoleteTables> obsolete_ = std::make_shared<ObsoleteTables>();
  std::atomic<FileNumber> next_file_number_{1};

  io::Mutex manifest_mutex_;  // before mutex_; held across I/O
  Manifest manifest_ GUARDED_BY(manifest_mutex_);

  mutable io::Mutex mutex_;
  State state_ GUARDED_BY(mutex_);
  FileNumber manifest_number_ GUARDED_BY(mutex_) = 0;
  io::Status error_ GUARDED_BY(mutex_);
};

}  // namespace terracefs::lsm
