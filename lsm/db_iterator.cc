#include "lsm/db_iterator.h"

#include <string>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

// The distance between two samples is uniform in [0, this).
constexpr uint64_t kSampleBytesMax = 2 << 20;
constexpr uint64_t kGarbageEntriesMin = 256;

class VisibleEntries final : public VisibleIterator {
 public:
  VisibleEntries(std::unique_ptr<Iterator> input, SequenceNumber snapshot,
                 std::string_view upper_bound, std::shared_ptr<const View> view,
                 ReadSampler* sampler)
      : view_(std::move(view)),
        sampler_(view_ == nullptr ? nullptr : sampler),
        input_(std::move(input)),
        snapshot_(snapshot),
        upper_bound_(upper_bound) {}

  bool Valid() const override { return valid_; }

  void SeekToFirst() override {
    skipping_ = false;
    input_->SeekToFirst();
    FindVisible();
  }

  void Seek(std::string_view target) override {
    skipping_ = false;
    seek_key_.assign(target);
    io::PutFixed64(&seek_key_, snapshot_ << 8 | 0xff);
    input_->Seek(seek_key_);
    FindVisible();
  }

  void Next() override {
    Skip(UserKey(input_->key()));
    input_->Next();
    FindVisible();
  }

  std::string_view key() const override { return UserKey(input_->key()); }
  std::string_view value() const override { return input_->value(); }
  io::Status status() const override { return status_; }
  bool is_reference() const override { return KeyKind(input_->key()) == EntryKind::kReference; }

 private:
  // Older versions of `user_key` are to be passed over.
  void Skip(std::string_view user_key) {
    skipping_ = true;
    skip_key_.assign(user_key);
  }

  void FindVisible() {
    uint64_t passed = 0;
    FindNextVisible(&passed);
    if (sampler_ == nullptr) return;
    if (passed >= kGarbageEntriesMin) sampler_->CrossedGarbage(*view_, skip_key_, passed);
    if (!valid_) return;
    const uint64_t bytes = input_->key().size() + input_->value().size();
    if (bytes < bytes_to_sample_) {
      bytes_to_sample_ -= bytes;
      return;
    }
    bytes_to_sample_ = NextSample();
    sampler_->Sample(*view_, UserKey(input_->key()));
  }

  static uint64_t NextSample() {
    thread_local io::Random random(io::SecretNumber());
    return random.Uniform(kSampleBytesMax);
  }

  // Counts the entries that nobody sees.
  void FindNextVisible(uint64_t* passed) {
    valid_ = false;
    status_ = io::Status::Ok();
    for (; input_->Valid(); input_->Next(), ++*passed) {
      const std::string_view user_key = UserKey(input_->key());
      if (!upper_bound_.empty() && user_key >= upper_bound_) return;
      if (KeySequence(input_->key()) > snapshot_) continue;
      if (skipping_ && user_key == skip_key_) continue;
      switch (KeyKind(input_->key())) {
        case EntryKind::kDelete:
          Skip(user_key);
          continue;
        case EntryKind::kValue:
        case EntryKind::kReference:
          valid_ = true;
          return;
        case EntryKind::kDropRange:
        case EntryKind::kCounter:
          break;
      }
      status_ = io::Status::Corruption("entry of unknown kind in a sorted run");
      return;
    }
    status_ = input_->status();
  }

  const std::shared_ptr<const View> view_;  // first: dies after the input
  ReadSampler* const sampler_;
  uint64_t bytes_to_sample_ = sampler_ == nullptr ? 0 : NextSample();
  const std::unique_ptr<Iterator> input_;
  const SequenceNumber snapshot_;
  const std::string_view upper_bound_;
  bool valid_ = false;
  bool skipping_ = false;
  std::string skip_key_;
  std::string seek_key_;
  io::Status status_;
};

class ValueIterator final : public Iterator {
 public:
  ValueIterator(std::unique_ptr<VisibleIterator> entries, ValueFiles* files, bool cache_only)
      : entries_(std::move(entries)), files_(files), cache_only_(cache_only) {}

  bool Valid() const override { return status_.ok() && entries_->Valid(); }
  void SeekToFirst() override {
    entries_->SeekToFirst();
    Resolve();
  }
  void Seek(std::string_view target) override {
    entries_->Seek(target);
    Resolve();
  }
  void Next() override {
    entries_->Next();
    Resolve();
  }
  std::string_view key() const override { return entries_->key(); }
  std::string_view value() const override {
    return entries_->is_reference() ? std::string_view(value_) : entries_->value();
  }
  size_t value_bytes() const override {
    return entries_->is_reference() ? kValuePageBytes : entries_->value().size();
  }
  io::Status status() const override { return status_.ok() ? entries_->status() : status_; }

 private:
  void Resolve() {
    status_ = io::Status::Ok();
    if (!entries_->Valid() || !entries_->is_reference() || files_ == nullptr) return;
    status_ = ReadValue();
  }

  io::Status ReadValue() {
    ValueFiles::ReadItem item;
    item.reference = TRY(ValueReference::Decode(entries_->value()));
    value_.resize(kValuePageBytes);
    item.out = reinterpret_cast<std::byte*>(value_.data());
    ValueFiles::ReadSettings settings;
    settings.cache_only = cache_only_;
    return files_->Read({&item, 1}, settings);
  }

  const std::unique_ptr<VisibleIterator> entries_;
  ValueFiles* const files_;
  const bool cache_only_;
  std::string value_;
  io::Status status_;
};

}  // namespace

std::unique_ptr<VisibleIterator> NewVisibleIterator(std::unique_ptr<Iterator> input,
                                                    SequenceNumber snapshot,
                                                    std::string_view upper_bound,
                                                    std::shared_ptr<const View> view,
                                                    ReadSampler* sampler) {
  return std::make_unique<VisibleEntries>(std::move(input), snapshot, upper_bound, std::move(view),
                                          sampler);
}

std::unique_ptr<Iterator> NewValueIterator(std::unique_ptr<VisibleIterator> entries,
                                           ValueFiles* files, bool cache_only) {
  return std::make_unique<ValueIterator>(std::move(entries), files, cache_only);
}

}  // namespace terracefs::lsm
