#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "io/base/random.h"
#include "io/storage.h"
#include "tests/support/fault_rules.h"
#include "tests/support/sim_file_content.h"

namespace terracefs::testing {

// What CrashClone finds after the crash.
enum class CrashMode {
  kLoseAllUnsynced,  // power cut: only what was synced is there
  kRandom,           // power cut: of the rest, what the seed decides
  kKeepAll,          // the process was killed: the kernel still has everything
};

// Storage in memory, with a power switch. Safe from any thread; deterministic for one thread.
//
// What is durable when, stricter than any one filesystem:
// * Bytes of a file: after a sync of the file, or a durable write of them, was waited for. Before,
//   each 512-byte sector of each write is there or not, independently, and so are changes of size,
//   in order. A failed sync loses what it was to make durable for ever (FaultEffect::kNothing).
// * Names: after SyncDirectory. Before, a random number of the changes of names, in order, is
// there:
//   a synced file whose creation was not may be gone, a removed one may be back.
// The requests of one Start that are not linked are executed in random order. They are executed by
// Start but made durable by Wait, so a cut in between finds requests in flight; those that another
// one of the chain follows are durable when it begins.
class SimStorage final : public io::Storage {
 public:
  explicit SimStorage(uint64_t seed = 1);
  ~SimStorage() override;

  io::Result<std::unique_ptr<io::File>> Open(std::string_view name,
                                             const io::OpenOptions& options) override;
  io::Result<bool> Exists(std::string_view name) override;
  io::Status Remove(std::string_view name) override;
  io::Status Rename(std::string_view source, std::string_view target) override;
  io::Result<std::vector<std::string>> List() override;
  io::Status SyncDirectory() override;
  io::Result<std::unique_ptr<io::StorageLock>> Lock(std::string_view name) override;
  io::Result<std::unique_ptr<io::StorageLock>> LockShared(std::string_view name) override;
  io::Result<uint64_t> FreeBytes() override;
  const char* backend() const override { return "simulated"; }

  // The store as the next process finds it; all of it is durable there, nothing is locked, and no
  // fault is armed. The same seed gives the same state. This storage is not changed: the engine on
  // it may go on, or be thrown away.
  std::unique_ptr<SimStorage> CrashClone(uint64_t seed, CrashMode mode = CrashMode::kRandom) const;

  FaultRules& faults() { return faults_; }

  // Operations that change something so far: writes, syncs, truncations, changes of names.
  uint64_t io_count() const;
  // The power goes off before operation number `io_index` (of io_count(), so 0 is the first ever):
  // it and everything after it fails with IoError "simulated power cut"; reads only if
  // `reads_fail`.
  void CrashAtIo(uint64_t io_index, bool reads_fail = true);
  bool power_is_off() const;

  // Growing a file beyond this, in sum, fails with NoSpace. Files count in blocks of 4 KiB.
  void SetCapacityBytes(uint64_t bytes);
  uint64_t UsedBytes() const;
  // Damages one byte where it lies; the file and the byte must exist.
  void CorruptByte(std::string_view name, uint64_t offset);
  // Straight to the bytes of a file, without faults or counters. PutContents is durable at once,
  // name included.
  io::Result<std::string> Contents(std::string_view name) const;
  void PutContents(std::string_view name, std::string_view contents);

 private:
  friend class SimFile;
  struct Inode {
    SimFileContent content;
  };
  using InodePtr = std::shared_ptr<Inode>;
  using Directory = std::map<std::string, InodePtr, std::less<>>;
  // One change of names: `target` names `inode` from now on (nothing, if null), `source` nothing.
  struct NameChange {
    std::string source;
    std::string target;
    InodePtr inode;
  };

  static void Apply(const NameChange& change, Directory& directory);
  void ChangeNamesLocked(NameChange change) REQUIRES(mutex_);
  // Counts one change, and meets the power cut or a fault. An error means: nothing happened.
  io::Status BeginLocked(FaultOperation operation, std::string_view name,
                         std::string_view other_name, io::Status* late_error) REQUIRES(mutex_);
  io::Status BeginReadLocked(FaultOperation operation, std::string_view name, Fault* fault)
      REQUIRES(mutex_);
  io::Status CountLocked() REQUIRES(mutex_);
  io::Status MakeRoomLocked(const Inode& inode, uint64_t bytes) REQUIRES(mutex_);
  uint64_t UsedBytesLocked() const REQUIRES(mutex_);
  InodePtr FindLocked(std::string_view name) const REQUIRES(mutex_);

  // For files.
  io::Status ReadLocked(const io::File& file, Inode& inode, io::IoRequest& request)
      REQUIRES(mutex_);
  io::Status WriteLocked(const io::File& file, Inode& inode, io::IoRequest& request)
      REQUIRES(mutex_);
  io::Status SyncLocked(const io::File& file, Inode& inode, io::IoRequest& request)
      REQUIRES(mutex_);
  io::Status ResizeLocked(const io::File& file, Inode& inode, uint64_t bytes,
                          FaultOperation operation) REQUIRES(mutex_);

  FaultRules faults_;
  // Shared with the locks given out, which may outlive a test's storage.
  struct LockTable {
    io::Mutex mutex;
    std::map<std::string, int, std::less<>> held GUARDED_BY(mutex);  // sharers; -1: one alone
  };
  class SimLock;
  const std::shared_ptr<LockTable> locks_ = std::make_shared<LockTable>();

  mutable io::Mutex mutex_;
  Directory live_ GUARDED_BY(mutex_);
  Directory durable_ GUARDED_BY(mutex_);
  std::vector<NameChange> unsynced_names_ GUARDED_BY(mutex_);
  // Every inode that may still exist, for the sum of their sizes: open files count without a name.
  std::vector<std::weak_ptr<Inode>> inodes_ GUARDED_BY(mutex_);
  io::Random order_ GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ GUARDED_BY(mutex_);
  uint64_t io_count_ GUARDED_BY(mutex_) = 0;
  uint64_t cut_at_ GUARDED_BY(mutex_) = UINT64_MAX;
  bool reads_fail_ GUARDED_BY(mutex_) = true;
  bool power_is_off_ GUARDED_BY(mutex_) = false;
};

}  // namespace terracefs::testing
