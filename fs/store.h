#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fs/file_system.h"
#include "fs/store_files.h"
#include "io/base/result.h"
#include "io/open_storage.h"
#include "lsm/db.h"

namespace terracefs::fs {

inline constexpr uint64_t kStoreBytesMin = 16 * io::kMiB;

struct CreateStoreOptions {
  uint64_t size_bytes = 0;  // capacity; 0 = the disk's
  std::string label;
  bool force =
      false;         // replace the store (or the remains of an interrupted creation) that is there
  uint32_t uid = 0;  // who owns the root directory
  uint32_t gid = 0;
  io::IoBackend io = io::IoBackend::kUring;
};

struct OpenStoreOptions {
  io::IoBackend io = io::IoBackend::kUring;
  lsm::Options engine;
  FileSystemOptions file_system;
  std::string mountpoint;  // for whoever finds the store locked
  // How long to wait for a holder that is finishing its unmount; any other is not waited for.
  std::chrono::milliseconds wait_for_holder{30'000};
};

// A store directory in use: storage, lock, engine and filesystem, opened in this order and closed
// in the reverse one. Not thread-safe; what it hands out is.
class Store {
 public:
  // Makes the directory `path`, or uses it if it is empty, and an empty filesystem in it. All or
  // nothing: after an error the directory is as it was, but for a store that `force` gave up. Busy
  // if the directory is not empty or its store is in use.
  static io::Status Create(const std::string& path, const CreateStoreOptions& options);

  // Changes nothing in `path` unless it is a store that this process then holds the lock of, and is
  // not to be only read.
  // NotFound: not a store; Corruption: damaged; NotSupported: of a newer version; Busy: in use, and
  // by whom.
  static io::Result<std::unique_ptr<Store>> Open(const std::string& path,
                                                 const OpenStoreOptions& options);
  // Close, errors only logged.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Everything is durable and the lock is free when it returns ok.
  io::Status Close();

  FileSystem& file_system() { return *file_system_; }
  lsm::Db& db() { return *db_; }
  const io::Storage& storage() const { return *storage_; }
  const std::string& path() const { return path_; }
  const Identity& identity() const { return identity_; }

  // What whoever finds the lock taken shall read. Best effort; nothing if it is only read.
  void SetHolderState(HolderState state);

 private:
  Store(std::string path, std::string mountpoint);

  const std::string path_;
  const std::string mountpoint_;
  bool read_only_ = false;
  Identity identity_;
  std::unique_ptr<io::Storage> storage_;
  std::unique_ptr<io::StorageLock> lock_;
  std::unique_ptr<lsm::Db> db_;
  std::unique_ptr<FileSystem> file_system_;
};

}  // namespace terracefs::fs
