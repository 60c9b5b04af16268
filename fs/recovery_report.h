#pragma once

#include <cstdint>
#include <string>

#include "fs/schema/inode_number.h"
#include "io/base/status.h"

namespace terracefs::fs {

// What mounting could not clean up and left in place for the next mount. One line is kept, however
// much there is. Not thread-safe.
struct RecoveryReport {
  uint64_t left_count = 0;
  std::string first_reason;

  void Note(const io::Status& status) { NoteOf("", status); }
  void Note(InodeNumber ino, const io::Status& status) {
    NoteOf("inode " + std::to_string(ino.value) + ": ", status);
  }

 private:
  void NoteOf(const std::string& what, const io::Status& status) {
    if (status.ok()) return;
    if (left_count++ == 0) first_reason = what + status.ToString();
  }
};

}  // namespace terracefs::fs
