// At what rate background work runs.
#include <algorithm>
#include <utility>

#include "lsm/db_impl.h"

namespace terracefs::lsm {
namespace {

constexpr int64_t kTickNsMin = 5'000'000;
// What takes a walk over all tables is looked up once in so many ticks.
constexpr uint64_t kTicksPerLook = 10;

}  // namespace

void DbImpl::SetCompactionRate(uint64_t bytes_per_second) {
  io::MutexLock lock(rate_mutex_);
  const bool automatic = bytes_per_second == kRateAuto;
  if (!automatic) {
    auto_rate_.reset();
    limiter_.SetRate(bytes_per_second);
  } else if (!auto_rate_) {
    auto_rate_.emplace();
    last_tick_ = AutoRate::Tick();
    ticked_ns_ = options_.clock->SteadyNs();
    tick_count_ = 0;
    ticked_user_bytes_ = queue_ ? written_bytes_.load(std::memory_order_relaxed) : 0;
    ticked_background_bytes_ = limiter_.stats().bytes;
    sync_latency_.Take();
    block_cache_.miss_latency().Take();
    limiter_.SetRate(auto_rate_->rate());
  }
  rate_auto_.store(automatic, std::memory_order_relaxed);
}

// Syncs for a caller, and takes note of how long he had to wait for the device. Large amounts,
// which are already on their way, are left out: they say more about what was written.
io::Status DbImpl::TimedSync() {
  written_bytes_at_sync_.store(written_bytes_.load(std::memory_order_relaxed),
                               std::memory_order_relaxed);
  const bool counts = rate_auto_.load(std::memory_order_relaxed) &&
                      queue_->queued_chunk_count() == 0 &&
                      queue_->durable_sequence() < queue_->last_sequence();
  if (!counts) return queue_->Sync();
  const int64_t begin_ns = options_.clock->SteadyNs();
  const io::Status status = queue_->Sync();
  sync_latency_.Record(options_.clock->SteadyNs() - begin_ns);
  return status;
}

// Tells the controller what happened since the last time. Also called when a memtable ends, for
// with small ones a tenth of a second is long.
void DbImpl::TickRate() {
  io::MutexLock lock(rate_mutex_);
  if (!auto_rate_) return;
  const int64_t now_ns = options_.clock->SteadyNs();
  if (now_ns - ticked_ns_ < kTickNsMin) return;
  AutoRate::Tick tick = last_tick_;
  tick.seconds = static_cast<double>(now_ns - ticked_ns_) / 1e9;
  ticked_ns_ = now_ns;
  tick.latency = {sync_latency_.Take(), block_cache_.miss_latency().Take()};
  const uint64_t user_bytes = written_bytes_.load(std::memory_order_relaxed);
  tick.foreground_bytes = user_bytes - std::exchange(ticked_user_bytes_, user_bytes);
  const io::RateLimiterStats limiter = limiter_.stats();
  tick.background_bytes = limiter.bytes - std::exchange(ticked_background_bytes_, limiter.bytes);
  tick.background_active = tick.background_bytes > 0 || limiter.waiting_count > 0;
  tick.level0_fullness = static_cast<double>(level0_count_.load(std::memory_order_relaxed)) /
                         std::max(options_.l0_slowdown_trigger, 1);
  const WritePacer::Load flush = FlushLoad();
  tick.flush_fullness =
      static_cast<double>(flush.backlog_bytes) / static_cast<double>(flush.begin_bytes);
  tick.room_bytes = RoomBytes();
  tick.reserve_bytes = reserve_bytes_.load(std::memory_order_relaxed);
  if (tick_count_++ % kTicksPerLook == 0) LookForWork(&tick);
  limiter_.SetRate(auto_rate_->Update(tick));
  last_tick_ = tick;
}

// What compaction has to do, and until when.
void DbImpl::LookForWork(AutoRate::Tick* tick) {
  tick->pending_bytes = tick->due_bytes = 0;
  if (options_.disable_automatic_compaction) return;
  const int64_t deadline_s = delete_deadline_ms_.load() / 1000;
  const int64_t now_s = NowSeconds();
  const SequenceNumber smallest_snapshot = SmallestSnapshot();
  const Shape shape = versions_.shape();
  int64_t left_s = deadline_s;
  io::MutexLock lock(jobs_mutex_);
  tick->pending_bytes = PendingBytes({shape, options_, in_use_}) +
                        vacuum_pending_bytes_.load(std::memory_order_relaxed);
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : shape.version->files(level)) {
      if (quarantined_.contains(file->number)) continue;
      int64_t since_s = file->drop_pending_since_seconds.load(std::memory_order_relaxed);
      // Tombstones that a snapshot needs have to stay, deadline or not.
      if (file->info.tombstone_count > 0 && file->info.largest_sequence <= smallest_snapshot) {
        const int64_t oldest_s = file->info.oldest_tombstone_seconds;
        since_s = since_s == 0 ? oldest_s : std::min(since_s, oldest_s);
      }
      if (since_s == 0 || now_s - since_s < deadline_s / 2) continue;
      tick->due_bytes += 2 * file->info.file_bytes;  // read and written again
      left_s = std::min(left_s, since_s + deadline_s - now_s);
    }
  }
  tick->due_seconds = static_cast<double>(left_s);
}

}  // namespace terracefs::lsm
