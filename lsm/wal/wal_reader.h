#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/storage.h"
#include "lsm/key.h"

namespace terracefs::lsm {

struct WalReplayResult {
  SequenceNumber last_sequence = 0;  // of the last batch replayed; the start if there was none
  uint64_t batch_count = 0;
  uint64_t bytes = 0;  // of the replayed representations
  // The largest sequence up to which a chunk says that everything was on stable storage; `after` if
  // none says more.
  SequenceNumber durable_sequence = 0;
  bool torn_tail = false;  // the history ended in something that was being written
};

// Called for each batch in sequence order; an error stops the replay and is returned. The memory of
// `representation`, which is well-formed (WriteBatch::ForEach), is only good during the call.
using WalBatchVisitor =
    std::function<io::Status(FileNumber log_number, SequenceNumber first_sequence, uint32_t count,
                             std::string_view representation)>;

// Replays the logs `numbers` (ascending), written with `secret` (WalSalt), after sequence `after`.
// Batches at or below `after` are skipped. `numbers` must hold every log that may contain something
// after `after`, and none that the manifest says is done with (a done-with log may hold a tail that
// recovery once gave up).
//
// The torn-tail rule: replay ends at the first chunk that is missing, has a wrong checksum or log
// number, or does not continue the sequence; that is the end of the history, in whatever log it
// lies (chunks are written several at a time, so later ones may have arrived before it: they are
// not part of a prefix and are ignored). A later log that begins with exactly the next sequence
// continues it: that is how a log ends in the normal case, and how the history goes on after a
// recovery that gave up a tail. But if any valid chunk that is not part of the history, in any of
// the logs, says that the missing sequences had been durable, then bytes that were on stable
// storage are damaged: Corruption, naming the file and offset, and nothing should be thrown away.
// The visitor may have seen batches by then; they are a true prefix.
//
// IoError if the storage fails to read (a sector that cannot be read is not a torn tail).
io::Result<WalReplayResult> ReplayLogs(io::Storage& storage, const std::vector<FileNumber>& numbers,
                                       uint64_t secret, SequenceNumber after,
                                       const WalBatchVisitor& visit);

}  // namespace terracefs::lsm
