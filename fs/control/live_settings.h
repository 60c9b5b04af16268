#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/mount_options.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// The mount options that can be changed while mounted, under the same names and with values of the
// same form. Safe from any thread.
class LiveSettings {
 public:
  // `db` is borrowed, and was opened with `options`.
  LiveSettings(lsm::Db& db, const MountOptions& options);

  // In the order in which they are shown.
  static std::vector<std::string_view> Keys();
  // InvalidArgument if there is no such setting; one line says which there are.
  static io::Status CheckKey(std::string_view key);
  // Whether Set would take it; InvalidArgument, one line, says why not.
  static io::Status Check(std::string_view key, std::string_view value);

  // What is in force, as text that Set takes. InvalidArgument: there is no such setting.
  io::Result<std::string> Get(std::string_view key) const EXCLUDES(mutex_);
  // InvalidArgument as Check, and nothing has changed. The next mount knows nothing of it.
  io::Status Set(std::string_view key, std::string_view value) EXCLUDES(mutex_);

 private:
  lsm::Db& db_;
  mutable io::Mutex mutex_;
  MountOptions options_ GUARDED_BY(mutex_);  // as they are now
};

}  // namespace terracefs::fs
