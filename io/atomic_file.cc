#include "io/atomic_file.h"

#include <memory>

namespace terracefs::io {
namespace {

Status WriteNewFile(Storage& storage, const std::string& name, std::string_view contents) {
  OpenOptions options;
  options.write = true;
  options.create = true;
  options.truncate = true;
  const std::unique_ptr<File> file = TRY(storage.Open(name, options));
  TRY(file->Write(0, AsBytes(contents)));
  return file->Sync();
}

}  // namespace

Status ReplaceFile(Storage& storage, std::string_view name, std::string_view contents) {
  const std::string temporary = std::string(name).append(kTemporarySuffix);
  // The contents have to be durable before the name points to them: filesystems may order a rename
  // before the data it exposes.
  Status status = WriteNewFile(storage, temporary, contents);
  if (status.ok()) status = storage.Rename(temporary, name);
  if (!status.ok()) {
    storage.Remove(temporary).IgnoreError("the first error is reported; the next call truncates");
    return status;
  }
  return storage.SyncDirectory();
}

Result<std::string> ReadWholeFile(Storage& storage, std::string_view name, size_t bytes_max) {
  const std::unique_ptr<File> file = TRY(storage.Open(name, OpenOptions{}));
  const uint64_t size_bytes = TRY(file->SizeBytes());
  if (size_bytes > bytes_max) {
    return Status::Corruption("file of " + std::to_string(size_bytes) +
                                  " bytes, expected at most " + std::to_string(bytes_max),
                              name);
  }
  std::string contents(size_bytes, '\0');
  TRY(file->ReadFull(0, AsMutableBytes(contents)));
  return contents;
}

}  // namespace terracefs::io
