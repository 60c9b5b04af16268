#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/random.h"

namespace terracefs::testing {

// The bytes of one simulated file: what readers see, what is on stable storage, and the changes
// between the two, in order. Invariants:
// 1. Applying all changes, in order, to the durable bytes gives the bytes that readers see.
// 2. Changes of size become durable in order; writes do in any order.
// 3. A change is removed as soon as it is durable, and what is older is cut out of where it wrote.
//    So no change that is left can take a durable one back.
// Not thread-safe; a value.
class SimFileContent {
 public:
  const std::string& live() const { return live_; }
  const std::string& durable() const { return durable_; }
  bool has_unsynced() const { return !changes_.empty(); }

  // Returns the number of the change.
  uint64_t Write(uint64_t offset, std::string_view bytes);
  void Resize(uint64_t bytes);
  // The number of the last change; 0 if there was none.
  uint64_t last_change() const { return last_change_; }

  // What fdatasync does that began after `last`: all changes up to it, except doomed ones.
  void SyncUpTo(uint64_t last);
  // What a durable write does: its bytes, and the sizes up to then, which reading it back needs.
  void SyncWrite(uint64_t write);
  // A sync failed: none of the writes up to now ever becomes durable by a later sync.
  void DoomUnsynced();
  // Flips every bit of a byte that exists, where readers and where crashes see it.
  void CorruptByte(uint64_t offset);

  // What a power cut may leave. `keep_percent` of the sectors of unsynced writes are there, and a
  // random number of the changes of size.
  std::string AfterPowerCut(io::Random& random, uint64_t keep_percent) const;

 private:
  struct Change {
    uint64_t number = 0;
    bool is_resize = false;
    bool doomed = false;
    uint64_t offset = 0;     // of a write
    std::string bytes;       // of a write
    uint64_t end_bytes = 0;  // the size that the file has or reaches by this
  };

  void Sync(uint64_t last, uint64_t only_write);
  void CutOut(std::vector<Change>& older, uint64_t begin, uint64_t end) const;

  std::string live_;
  std::string durable_;
  std::vector<Change> changes_;
  uint64_t last_change_ = 0;
};

}  // namespace terracefs::testing
