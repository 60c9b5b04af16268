#include "tests/compare/operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "io/base/units.h"
#include "io/unique_fd.h"

namespace terracefs::compare {
namespace {

using io::kGiB;
using io::kKiB;
using io::kMiB;
using io::Random;
using io::UniqueFd;

constexpr uint64_t kBlockBytes = 4 * kKiB;  // of ext4, and of mappings and direct I/O
constexpr uint64_t kPoolBytes = kMiB;
constexpr uint64_t kLengthMax = 192 * kKiB;

bool Percent(Random& random, unsigned percent) { return random.Uniform(100) < percent; }

template <typename T>
T Pick(Random& random, std::initializer_list<T> choices) {
  return choices.begin()[random.Uniform(choices.size())];
}

// --- What operations are about -------------------------------------------------------------------

const std::string& LongName() {
  static const std::string name(255, 'n');
  return name;
}

std::string AnyName(Random& random) {
  const uint64_t die = random.Uniform(200);
  if (die < 120) return fmt::format("f{}", random.Uniform(5));
  if (die < 180) return fmt::format("d{}", random.Uniform(3));
  if (die < 188) return LongName();
  if (die < 196) return "\xc3\xa9 \\\n\xff";  // not UTF-8, and full of characters that scripts fear
  if (die < 197) return LongName() + "n";     // too long
  if (die < 198) return ".";
  if (die < 199) return "f0/.";
  return "d0/..";
}

std::string AnyFolder(Random& random) {
  if (random.OneIn(50)) {  // a chain, which MakeChain digs
    std::string path;
    for (uint64_t n = random.Uniform(40); n > 0; --n) path += "z/";
    return path;
  }
  const uint64_t die = random.Uniform(100);
  const int depth = die < 40 ? 0 : die < 75 ? 1 : die < 96 ? 2 : 3;
  std::string path;
  for (int i = 0; i < depth; ++i) path += fmt::format("d{}/", random.Uniform(3));
  return path;
}

std::string AnyPath(Random& random) {
  if (random.OneIn(400)) return "";
  std::string path = AnyFolder(random) + AnyName(random);
  if (random.OneIn(100)) path += '/';
  return path;
}

std::string DirectoryPath(Random& random) {
  if (Percent(random, 15)) return AnyPath(random);
  std::string path = AnyFolder(random) + fmt::format("d{}", random.Uniform(3));
  if (random.OneIn(50)) path += '/';
  return path;
}

// The last two are replaced rarely, so that they live long, mostly without a name.
int AnySlot(Random& random) {
  const uint64_t slot = random.Uniform(kSlotCount);
  return static_cast<int>(slot < kSlotCount - 2 || random.OneIn(20) ? slot : slot - 5);
}

int UsedSlot(Random& random) { return static_cast<int>(random.Uniform(kSlotCount)); }

mode_t AnyMode(Random& random) {
  return Pick<mode_t>(random, {0644, 0600, 0755, 0777, 0700, 0000, 0444, 0666, 0640, 0770, 02755,
                               04755, 06777, 01777, 02775, 04711});
}

// Setgid without execution by the group is a kind of its own (see SetgidAlone), and a umask would
// make such modes of others.
mode_t ModeOfNew(Random& random) { return AnyMode(random) & ~mode_t{S_ISGID}; }

uid_t AnyId(Random& random) { return Pick<uid_t>(random, {0, 1001, 1002, 2000, 65534, 4'000'000}); }

off_t AnyOffset(Random& random) {
  const uint64_t die = random.Uniform(100);
  uint64_t offset = 0;
  if (die < 45) {
    offset = random.Uniform(16 * kKiB);
  } else if (die < 85) {
    offset = random.Uniform(300 * kKiB);
  } else if (die < 97) {
    offset = random.Uniform(8 * kMiB);
  } else {
    offset = random.Uniform(8192 * kGiB);  // ext4 ends at 16 TiB
  }
  if (Percent(random, 30)) offset -= offset % kBlockBytes;
  return static_cast<off_t>(offset);
}

size_t AnyLength(Random& random) {
  const uint64_t die = random.Uniform(100);
  if (die < 2) return 0;
  if (die < 45) return random.Uniform(200);
  if (die < 60) return kBlockBytes * (1 + random.Uniform(4));
  if (die < 88) return random.Uniform(12 * kKiB);
  return random.Uniform(kLengthMax);
}

// Bytes that are nowhere else twice in a row; some of them zeros, some of one letter.
std::string_view AnyData(Random& random, size_t length) {
  static const std::string pool = [] {
    Random bytes(1);
    std::string out(kPoolBytes + kLengthMax, '\0');
    for (char& c : out) c = static_cast<char>(bytes.Next());
    return out;
  }();
  static const std::string zeros(kLengthMax, '\0');
  static const std::string letters(kLengthMax, 'a');
  const uint64_t die = random.Uniform(20);
  const std::string& source = die == 0 ? zeros : die == 1 ? letters : pool;
  return std::string_view(source).substr(die < 2 ? 0 : random.Uniform(kPoolBytes), length);
}

std::string Printable(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    const bool is_plain = c >= ' ' && c <= '~';
    out += is_plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out + "'";
}

std::string SlotText(int slot) { return fmt::format("slot{}", slot); }

// A name for the bytes that a reader of the output can compare by eye.
std::string Fingerprint(std::string_view data) {
  return fmt::format("{} bytes, hash {:016x}", data.size(), std::hash<std::string_view>()(data));
}

// --- Open files ----------------------------------------------------------------------------------

void Assign(Side& side, int slot, int fd) {
  int& held = side.slots[static_cast<size_t>(slot)];
  if (held >= 0) close(held);
  held = fd;
}

int At(const Side& side, int slot) { return side.slots[static_cast<size_t>(slot)]; }

Outcome Opened(Side& side, int slot, int fd) {
  if (fd < 0) return Called(-1);  // what the slot holds stays open
  Assign(side, slot, fd);
  return {};
}

std::string FlagsText(int flags) {
  static const std::map<int, const char*> names = {
      {O_CREAT, "CREAT"},   {O_EXCL, "EXCL"},         {O_TRUNC, "TRUNC"},
      {O_APPEND, "APPEND"}, {O_NOFOLLOW, "NOFOLLOW"}, {O_DIRECTORY, "DIRECTORY"},
      {O_DSYNC, "DSYNC"},   {O_PATH, "PATH"},         {O_NOATIME, "NOATIME"},
  };
  const int access = flags & O_ACCMODE;
  std::string text = access == O_RDONLY ? "RDONLY" : access == O_WRONLY ? "WRONLY" : "RDWR";
  for (const auto& [flag, name] : names) {
    if ((flags & flag) == flag) text += std::string("|") + name;
  }
  return text;
}

Operation Open(Random& random) {
  const int slot = AnySlot(random);
  const std::string path = AnyPath(random);
  const mode_t mode = ModeOfNew(random);
  // O_NONBLOCK because of FIFOs.
  int flags =
      Pick(random, {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR, O_RDWR}) | O_NONBLOCK | O_CLOEXEC;
  const auto maybe = [&](unsigned percent, int flag) {
    if (Percent(random, percent)) flags |= flag;
  };
  maybe(60, O_CREAT);
  maybe(12, O_EXCL);
  maybe(12, O_TRUNC);
  maybe(15, O_APPEND);
  maybe(10, O_NOFOLLOW);
  maybe(4, O_DIRECTORY);
  maybe(1, O_DSYNC);
  maybe(1, O_PATH);
  maybe(1, O_NOATIME);
  return {fmt::format("{} = open({}, {}, {:o})", SlotText(slot), Printable(path), FlagsText(flags),
                      mode),
          {path},
          {},
          [=](Side& side) { return Opened(side, slot, open(path.c_str(), flags, mode)); }};
}

Operation OpenDirectory(Random& random) {
  const int slot = AnySlot(random);
  const std::string path = DirectoryPath(random);
  return {fmt::format("{} = opendir({})", SlotText(slot), Printable(path)),
          {path},
          {},
          [=](Side& side) {
            return Opened(side, slot, open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
          }};
}

Operation Close(Random& random) { return CloseSlot(AnySlot(random)); }

Operation Fsync(Random& random) {
  const int slot = UsedSlot(random);
  const bool data_only = Percent(random, 50);
  return {fmt::format("{}({})", data_only ? "fdatasync" : "fsync", SlotText(slot)),
          {},
          {slot},
          [=](Side& side) {
            return Called(data_only ? fdatasync(At(side, slot)) : fsync(At(side, slot)));
          }};
}

// Clean pages leave the page cache, so that the next read asks the filesystem.
Operation DropPages(Random& random) {
  const int slot = UsedSlot(random);
  const bool syncs = Percent(random, 10);
  return {fmt::format("drop the pages of {}{}", SlotText(slot), syncs ? " after fdatasync" : ""),
          {},
          {slot},
          [=](Side& side) {
            if (syncs) fdatasync(At(side, slot));
            posix_fadvise(At(side, slot), 0, 0, POSIX_FADV_DONTNEED);
            return Outcome{};
          }};
}

Operation Flock(Random& random) {
  const int slot = UsedSlot(random);
  const int how = Pick(random, {LOCK_SH, LOCK_EX, LOCK_UN}) | LOCK_NB;
  return {fmt::format("flock({}, {})", SlotText(slot), how), {}, {slot}, [=](Side& side) {
            return Called(flock(At(side, slot), how));
          }};
}

Operation RangeLock(Random& random) {
  const int slot = UsedSlot(random);
  struct flock lock = {};
  lock.l_type = Pick<short>(random, {F_RDLCK, F_WRLCK, F_UNLCK});
  lock.l_start = static_cast<off_t>(random.Uniform(100));
  lock.l_len = static_cast<off_t>(random.Uniform(50));
  const int command = Pick(random, {F_OFD_SETLK, F_OFD_SETLK, F_OFD_GETLK});
  return {fmt::format("fcntl({}, {}, type {}, {} + {})", SlotText(slot), command, lock.l_type,
                      lock.l_start, lock.l_len),
          {},
          {slot},
          [=](Side& side) {
            struct flock asked = lock;
            Outcome outcome = Called(fcntl(At(side, slot), command, &asked));
            outcome.data = fmt::format("{} {} {}", asked.l_type, asked.l_start, asked.l_len);
            return outcome;
          }};
}

// --- Data ----------------------------------------------------------------------------------------

Outcome ReadOutcome(ssize_t count, std::string buffer) {
  Outcome outcome = Called(count);
  if (count >= 0) {
    buffer.resize(static_cast<size_t>(count));
    outcome.data = std::move(buffer);
  }
  return outcome;
}

Operation Read(Random& random) {
  const int slot = UsedSlot(random);
  const size_t length = AnyLength(random);
  return {fmt::format("read({}, {})", SlotText(slot), length), {}, {slot}, [=](Side& side) {
            std::string buffer(length, '\0');
            const ssize_t count = read(At(side, slot), buffer.data(), length);
            return ReadOutcome(count, std::move(buffer));
          }};
}

Operation Pread(Random& random) {
  const int slot = UsedSlot(random);
  const off_t offset = AnyOffset(random);
  const size_t length = AnyLength(random);
  return {fmt::format("pread({}, {} + {})", SlotText(slot), offset, length),
          {},
          {slot},
          [=](Side& side) {
            std::string buffer(length, '\0');
            const ssize_t count = pread(At(side, slot), buffer.data(), length, offset);
            return ReadOutcome(count, std::move(buffer));
          }};
}

Operation Write(Random& random) {
  const int slot = UsedSlot(random);
  const std::string_view data = AnyData(random, AnyLength(random));
  return {
      fmt::format("write({}, {})", SlotText(slot), Fingerprint(data)), {}, {slot}, [=](Side& side) {
        return Called(write(At(side, slot), data.data(), data.size()));
      }};
}

Operation Pwrite(Random& random) {
  const int slot = UsedSlot(random);
  const off_t offset = AnyOffset(random);
  const std::string_view data = AnyData(random, AnyLength(random));
  return {
      fmt::format("pwrite({} + {}, {})", SlotText(slot), offset, Fingerprint(data)),
      {},
      {slot},
      [=](Side& side) { return Called(pwrite(At(side, slot), data.data(), data.size(), offset)); }};
}

// Opens, writes or reads at one place, closes: what most programs do.
Operation WriteOnce(Random& random) {
  const std::string path = AnyPath(random);
  const int flags = Pick(random, {O_CREAT, O_CREAT | O_TRUNC, O_CREAT | O_APPEND, 0, O_APPEND}) |
                    O_RDWR | O_NONBLOCK | O_CLOEXEC;
  const off_t offset = Percent(random, 50) ? 0 : AnyOffset(random);
  const std::string_view data = AnyData(random, AnyLength(random));
  return {fmt::format("write {} ({}) at {}: {}", Printable(path), FlagsText(flags), offset,
                      Fingerprint(data)),
          {path},
          {},
          [=](Side&) {
            const UniqueFd fd(open(path.c_str(), flags, 0644));
            if (!fd.valid()) return Called(-1);
            return Called(pwrite(fd.get(), data.data(), data.size(), offset));
          }};
}

Operation ReadOnce(Random& random) {
  const std::string path = AnyPath(random);
  const off_t offset = Percent(random, 50) ? 0 : AnyOffset(random);
  const size_t length = AnyLength(random);
  return {
      fmt::format("read {} at {} + {}", Printable(path), offset, length), {path}, {}, [=](Side&) {
        const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        if (!fd.valid()) return Called(-1);
        std::string buffer(length, '\0');
        const ssize_t count = pread(fd.get(), buffer.data(), length, offset);
        return ReadOutcome(count, std::move(buffer));
      }};
}

Operation Seek(Random& random) {
  const int slot = UsedSlot(random);
  const int whence = Pick(random, {SEEK_SET, SEEK_CUR, SEEK_END});
  const off_t offset = AnyOffset(random) * Pick(random, {1, 1, 1, -1});
  // A position in a directory is a cookie of the filesystem's own.
  return {fmt::format("lseek({}, {}, whence {})", SlotText(slot), offset, whence),
          {},
          {slot},
          [=](Side& side) {
            struct stat status = {};
            if (fstat(At(side, slot), &status) == 0 && S_ISDIR(status.st_mode)) return Outcome{};
            return Called(lseek(At(side, slot), offset, whence));
          }};
}

struct alignas(kBlockBytes) AlignedBlocks {
  std::array<char, 16 * kBlockBytes> bytes = {};
};

Operation Direct(Random& random) {
  const std::string path = AnyPath(random);
  const bool writes = Percent(random, 50);
  const off_t offset = static_cast<off_t>(random.Uniform(80) * kBlockBytes);
  const size_t length = kBlockBytes * (1 + random.Uniform(16));
  const std::string_view data = AnyData(random, length);
  const int flags = (writes ? O_RDWR | O_CREAT : O_RDONLY) | O_DIRECT | O_NONBLOCK | O_CLOEXEC;
  return {fmt::format("{} {} directly at {} + {}", writes ? "write" : "read", Printable(path),
                      offset, length),
          {path},
          {},
          [=](Side&) {
            static AlignedBlocks blocks;
            const UniqueFd fd(open(path.c_str(), flags, 0644));
            if (!fd.valid()) return Called(-1);
            char* buffer = blocks.bytes.data();
            if (writes) {
              memcpy(buffer, data.data(), length);
              return Called(pwrite(fd.get(), buffer, length, offset));
            }
            const ssize_t count = pread(fd.get(), buffer, length, offset);
            return ReadOutcome(count, std::string(buffer, length));
          }};
}

// Maps a part of the file that exists, reads it, writes into it, reads it through the descriptor.
Operation Mapping(Random& random, bool syncs) {
  const int slot = UsedSlot(random);
  const uint64_t block = random.Uniform(40);
  const uint64_t from = random.Uniform(kBlockBytes);
  const std::string_view data = AnyData(random, AnyLength(random));
  const int flags = Pick(random, {MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE});
  Operation operation{
      fmt::format("map {} at block {}{}, write at {} there: {}{}", SlotText(slot), block,
                  flags == MAP_PRIVATE ? " privately" : "", from, Fingerprint(data),
                  syncs ? ", msync" : ""),
      {},
      {slot},
      [=](Side& side) {
        const int fd = At(side, slot);
        struct stat status = {};
        if (fstat(fd, &status) != 0) return Called(-1);
        const auto begin = static_cast<off_t>(block * kBlockBytes);
        if (S_ISREG(status.st_mode) && status.st_size <= begin) return Outcome{-2, 0, {}};
        const uint64_t room = static_cast<uint64_t>(std::max<off_t>(status.st_size - begin, 1));
        const uint64_t bytes = std::min(room, from + data.size() + 1);
        void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, begin);
        if (memory == MAP_FAILED) return Called(-1);
        auto* const map = static_cast<char*>(memory);
        Outcome outcome;
        outcome.data.assign(map, bytes);
        if (from < bytes) memcpy(map + from, data.data(), std::min(data.size(), bytes - from));
        std::string back(bytes, '\0');
        outcome.value = pread(fd, back.data(), bytes, begin);
        outcome.data += back;
        if (syncs && msync(memory, bytes, MS_SYNC) != 0) outcome.error = errno;
        munmap(memory, bytes);
        return outcome;
      }};
  operation.compares_times = syncs;
  operation.leaves_dirty_mapping = !syncs;
  return operation;
}

Operation MapAndSync(Random& random) { return Mapping(random, true); }
Operation MapAndLeave(Random& random) { return Mapping(random, false); }

// Whether truncating to the size that a file has moves its times is left open by POSIX, and with
// FUSE depends on the kernel's write-back cache.
bool HasSize(const struct stat& status, off_t size) {
  return S_ISREG(status.st_mode) && status.st_size == size;
}

Operation Truncate(Random& random) {
  const std::string path = AnyPath(random);
  const off_t size = random.OneIn(100) ? -1 : AnyOffset(random);
  return {fmt::format("truncate({}, {})", Printable(path), size), {path}, {}, [=](Side&) {
            struct stat status = {};
            if (stat(path.c_str(), &status) == 0 && HasSize(status, size)) return Outcome{};
            return Called(truncate(path.c_str(), size));
          }};
}

Operation Ftruncate(Random& random) {
  const int slot = UsedSlot(random);
  const off_t size = AnyOffset(random);
  return {fmt::format("ftruncate({}, {})", SlotText(slot), size), {}, {slot}, [=](Side& side) {
            struct stat status = {};
            if (fstat(At(side, slot), &status) == 0 && HasSize(status, size)) return Outcome{};
            return Called(ftruncate(At(side, slot), size));
          }};
}

Operation Fallocate(Random& random) {
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  constexpr int kZeroKeep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  const int slot = UsedSlot(random);
  const int mode = Pick<int>(
      random, {0, 0, FALLOC_FL_KEEP_SIZE, kPunch, kPunch, FALLOC_FL_ZERO_RANGE, kZeroKeep});
  const off_t offset = AnyOffset(random);
  const auto length = static_cast<off_t>(AnyLength(random) * (random.OneIn(20) ? 20 : 1));
  return {fmt::format("fallocate({}, mode {}, {} + {})", SlotText(slot), mode, offset, length),
          {},
          {slot},
          [=](Side& side) { return Called(fallocate(At(side, slot), mode, offset, length)); }};
}

bool IsZeroBetween(int fd, off_t begin, off_t end) {
  constexpr off_t kLookedAt = 64 * 1024;  // at either end
  std::string buffer(static_cast<size_t>(kLookedAt), '\0');
  for (const off_t at : {begin, std::max(begin, end - kLookedAt)}) {
    const auto length = static_cast<size_t>(std::clamp<off_t>(end - at, 0, kLookedAt));
    const ssize_t count = pread(fd, buffer.data(), length, at);
    const auto got = buffer.begin() + std::max<ssize_t>(count, 0);
    if (std::any_of(buffer.begin(), got, [](char c) { return c != '\0'; })) return false;
  }
  return true;
}

// Where exactly a hole begins is each filesystem's own affair: what was allocated or zeroed may be
// either. That a hole reads as zeros, and what is an error, is not.
Operation SeekHole(Random& random) {
  const int slot = UsedSlot(random);
  const off_t offset = AnyOffset(random) * (random.OneIn(50) ? -1 : 1);
  return {fmt::format("SEEK_DATA, SEEK_HOLE of {} at {}", SlotText(slot), offset),
          {},
          {slot},
          [=](Side& side) {
            const int fd = At(side, slot);
            struct stat status = {};
            if (fstat(fd, &status) != 0) return Called(-1);
            if (!S_ISREG(status.st_mode)) return Outcome{};
            const off_t before = lseek(fd, 0, SEEK_CUR);
            const off_t hole = lseek(fd, offset, SEEK_HOLE);
            if (hole < 0) return Called(hole);
            Outcome outcome;
            if (hole < offset || hole > status.st_size) {
              outcome.data = fmt::format("a hole at {}, size {}", hole, status.st_size);
            }
            const off_t data = lseek(fd, offset, SEEK_DATA);
            if (data < 0 && errno != ENXIO) return Called(data);
            const off_t end = data < 0 ? status.st_size : data;
            if (end < offset || end > status.st_size) {
              outcome.data += fmt::format("data at {}, size {}", end, status.st_size);
            }
            if (!IsZeroBetween(fd, offset, end)) outcome.data += "a hole with data in it";
            lseek(fd, before, SEEK_SET);
            return outcome;
          }};
}

Operation CopyRange(Random& random) {
  const int from = UsedSlot(random);
  const int to = random.OneIn(4) ? from : UsedSlot(random);
  const off_t from_offset = AnyOffset(random);
  const off_t to_offset = AnyOffset(random);
  const size_t length = AnyLength(random);
  const unsigned flags = random.OneIn(100) ? 1 : 0;
  const bool uses_positions = random.OneIn(5);
  return {fmt::format("copy_file_range({} at {}, {} at {}, {}, flags {}){}", SlotText(from),
                      from_offset, SlotText(to), to_offset, length, flags,
                      uses_positions ? " at their positions" : ""),
          {},
          {from, to},
          [=](Side& side) {
            off_t in = from_offset;
            off_t out = to_offset;
            Outcome outcome =
                Called(copy_file_range(At(side, from), uses_positions ? nullptr : &in, At(side, to),
                                       uses_positions ? nullptr : &out, length, flags));
            outcome.data = fmt::format("{} {}", in, out);
            return outcome;
          }};
}

// --- Names ---------------------------------------------------------------------------------------

Operation RenameWith(Random& random, unsigned flags) {
  const std::string from = AnyPath(random);
  const std::string to = AnyPath(random);
  return {
      fmt::format("rename({}, {}, flags {})", Printable(from), Printable(to), flags),
      {from, to},
      {},
      [=](Side&) {
        // Where this fails for a directory that is not empty, ext4 has moved the times of the
        // old directory all the same.
        struct stat target = {};
        if ((flags & RENAME_WHITEOUT) != 0 && lstat(to.c_str(), &target) == 0 &&
            S_ISDIR(target.st_mode)) {
          return Outcome{-1, 0, "not tried"};
        }
        return Called(syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
      }};
}

Operation Rename(Random& random) {
  return RenameWith(random, Pick<unsigned>(random, {0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE,
                                                    RENAME_EXCHANGE}));
}
Operation RenameBadFlags(Random& random) {
  return RenameWith(random, Pick<unsigned>(random, {RENAME_NOREPLACE | RENAME_EXCHANGE, 8}));
}
Operation RenameWhiteout(Random& random) {
  return RenameWith(random, RENAME_WHITEOUT | (random.OneIn(4) ? RENAME_NOREPLACE : 0));
}

Operation Link(Random& random) {
  const std::string from = AnyPath(random);
  const std::string to = AnyPath(random);
  const int flags = random.OneIn(3) ? AT_SYMLINK_FOLLOW : 0;
  return {
      fmt::format("link({}, {}, flags {})", Printable(from), Printable(to), flags),
      {from, to},
      {},
      [=](Side&) { return Called(linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags)); }};
}

// What gives a file without a name one.
Operation LinkSlot(Random& random) {
  const int slot = UsedSlot(random);
  const std::string path = AnyPath(random);
  return {
      fmt::format("link({}, {})", SlotText(slot), Printable(path)),
      {path},
      {slot},
      [=](Side& side) {
        const std::string magic = fmt::format("/proc/self/fd/{}", At(side, slot));
        return Called(linkat(AT_FDCWD, magic.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW));
      }};
}

Operation TemporaryFile(Random& random) {
  const int slot = AnySlot(random);
  const std::string path = Percent(random, 30) ? "." : DirectoryPath(random);
  const int flags = Pick(random, {O_RDWR, O_WRONLY, O_RDWR | O_EXCL, O_RDONLY}) | O_TMPFILE;
  const mode_t mode = ModeOfNew(random);
  return {
      fmt::format("{} = open({}, TMPFILE|{}, {:o})", SlotText(slot), Printable(path),
                  FlagsText(flags), mode),
      {path},
      {},
      [=](Side& side) { return Opened(side, slot, open(path.c_str(), flags | O_CLOEXEC, mode)); }};
}

Operation Unlink(Random& random) {
  const std::string path = AnyPath(random);
  return {fmt::format("unlink({})", Printable(path)), {path}, {}, [=](Side&) {
            return Called(unlink(path.c_str()));
          }};
}

Operation Rmdir(Random& random) {
  const std::string path = DirectoryPath(random);
  return {fmt::format("rmdir({})", Printable(path)), {path}, {}, [=](Side&) {
            return Called(rmdir(path.c_str()));
          }};
}

Operation Mkdir(Random& random) {
  const std::string path = DirectoryPath(random);
  const mode_t mode = Percent(random, 50) ? 0777 : AnyMode(random);
  return {fmt::format("mkdir({}, {:o})", Printable(path), mode), {path}, {}, [=](Side&) {
            return Called(mkdir(path.c_str(), mode));
          }};
}

// Keeps the tree from falling apart: other operations want folders to work in.
Operation MakeFolders(Random& random) {
  const std::string path = AnyFolder(random);
  return {fmt::format("mkdir -p {}", Printable(path)), {path}, {}, [=](Side&) {
            Outcome outcome;
            for (size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
              const int made = mkdir(path.substr(0, at).c_str(), 0777);
              outcome.data += fmt::format("{} ", made == 0 ? 0 : errno);
            }
            return outcome;
          }};
}

Operation MakeChain(Random& random) {
  const uint64_t depth = 1 + random.Uniform(40);
  return {fmt::format("make a chain of {} directories", depth), {"z"}, {}, [=](Side&) {
            Outcome outcome;
            std::string path;
            for (uint64_t i = 0; i < depth; ++i) {
              path += "z/";
              outcome.data += mkdir(path.c_str(), 0777) == 0 ? "+" : fmt::format(" {}", errno);
            }
            return outcome;
          }};
}

Operation Symlink(Random& random) {
  const std::string path = AnyPath(random);
  // Never out of the tree: relative and without "..".
  const uint64_t die = random.Uniform(20);
  const std::string target =
      die == 0   ? std::string(1000 + random.Uniform(3300), 't')
      : die == 1 ? std::string(50 + random.Uniform(20), 't')
                 : AnyFolder(random) +
                       Pick<const char*>(random, {"f0", "f1", "f2", "f3", "d0", "d1", "d2"});
  return {
      fmt::format("symlink({}, {})", Printable(target), Printable(path)), {path}, {}, [=](Side&) {
        return Called(symlink(target.c_str(), path.c_str()));
      }};
}

Operation Readlink(Random& random) {
  const std::string path = AnyPath(random);
  const size_t room = Pick<size_t>(random, {4096, 4096, 5, 1});
  return {fmt::format("readlink({}, {})", Printable(path), room), {path}, {}, [=](Side&) {
            std::string buffer(room, '\0');
            const ssize_t count = readlink(path.c_str(), buffer.data(), room);
            return ReadOutcome(count, std::move(buffer));
          }};
}

// Only devices that are harmless to open.
Operation Mknod(Random& random) {
  const std::string path = AnyPath(random);
  struct Kind {
    mode_t type;
    dev_t device;
  };
  const Kind kind = Pick<Kind>(random, {{S_IFIFO, 0},
                                        {S_IFSOCK, 0},
                                        {S_IFREG, 0},
                                        {S_IFREG, 0},
                                        {S_IFCHR, makedev(1, 3)},
                                        {S_IFCHR, makedev(240, 70000)},
                                        {S_IFBLK, makedev(240, 5)},
                                        {S_IFCHR, makedev(0, 0)},
                                        {S_IFDIR, 0},
                                        {S_IFLNK, 0},
                                        {0, 0}});
  const mode_t mode = ModeOfNew(random) | kind.type;
  return {fmt::format("mknod({}, {:o}, {:x})", Printable(path), mode, kind.device),
          {path},
          {},
          [=](Side&) { return Called(mknod(path.c_str(), mode, kind.device)); }};
}

// Through a directory that may have no name any more.
Operation AtSlot(Random& random) {
  const int slot = UsedSlot(random);
  const std::string name = Percent(random, 90) ? AnyName(random) : AnyPath(random);
  const uint64_t action = random.Uniform(4);
  static const std::array<const char*, 4> actions = {"mkdir", "create", "remove", "stat"};
  return {fmt::format("{} {} in {}", actions[action], Printable(name), SlotText(slot)),
          {},
          {slot},
          [=](Side& side) {
            const int fd = At(side, slot);
            struct stat status = {};
            switch (action) {
              case 0:
                return Called(mkdirat(fd, name.c_str(), 0777));
              case 1: {
                const UniqueFd created(
                    openat(fd, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
                return created.valid() ? Outcome{} : Called(-1);
              }
              case 2: {
                const int removed = unlinkat(fd, name.c_str(), 0);
                if (removed != 0 && errno == EISDIR) {
                  return Called(unlinkat(fd, name.c_str(), AT_REMOVEDIR));
                }
                return Called(removed);
              }
              default:
                return Called(fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW));
            }
          }};
}

// --- Attributes ----------------------------------------------------------------------------------

Operation Chmod(Random& random) {
  const std::string path = AnyPath(random);
  const mode_t mode = AnyMode(random);
  return {fmt::format("chmod({}, {:o})", Printable(path), mode), {path}, {}, [=](Side&) {
            return Called(chmod(path.c_str(), mode));
          }};
}

// Linux takes S_ISGID from a file that its group may not execute if whoever writes is not in that
// group; a FUSE daemon is only told that the writer is no superuser.
Operation SetgidAlone(Random& random) {
  const std::string path = AnyPath(random);
  return {fmt::format("chmod({}, 2666)", Printable(path)), {path}, {}, [=](Side&) {
            return Called(chmod(path.c_str(), 02666));
          }};
}

Operation Fchmod(Random& random) {
  const int slot = UsedSlot(random);
  const mode_t mode = AnyMode(random);
  return {fmt::format("fchmod({}, {:o})", SlotText(slot), mode), {}, {slot}, [=](Side& side) {
            return Called(fchmod(At(side, slot), mode));
          }};
}

constexpr uid_t kKeep = UINT32_MAX;

Operation ChownTo(Random& random, uid_t uid, gid_t gid) {
  const std::string path = AnyPath(random);
  const int flags = random.OneIn(2) ? AT_SYMLINK_NOFOLLOW : 0;
  return {fmt::format("chown({}, {}, {}, flags {})", Printable(path), static_cast<int>(uid),
                      static_cast<int>(gid), flags),
          {path},
          {},
          [=](Side&) { return Called(fchownat(AT_FDCWD, path.c_str(), uid, gid, flags)); }};
}

Operation Chown(Random& random) {
  const uid_t uid = random.OneIn(4) ? kKeep : AnyId(random);
  return ChownTo(random, uid, uid != kKeep && random.OneIn(4) ? kKeep : AnyId(random));
}

// Changes no owner, but clears setuid and setgid all the same. A stranger gets EPERM where there is
// something to clear; a FUSE daemon cannot tell that from what precedes a stranger's write.
Operation ChownToSame(Random& random) {
  Operation operation = ChownTo(random, kKeep, kKeep);
  operation.run = [path = operation.paths[0], run = operation.run](Side& side) {
    struct stat status = {};
    const bool is_strangers =
        geteuid() != 0 && (stat(path.c_str(), &status) != 0 || status.st_uid != geteuid());
    return is_strangers ? Outcome{-1, 0, "not tried"} : run(side);
  };
  return operation;
}

Operation Fchown(Random& random) {
  const int slot = UsedSlot(random);
  const uid_t uid = AnyId(random);
  const gid_t gid = random.OneIn(2) ? static_cast<gid_t>(-1) : AnyId(random);
  return {fmt::format("fchown({}, {}, {})", SlotText(slot), uid, gid), {}, {slot}, [=](Side& side) {
            return Called(fchown(At(side, slot), uid, gid));
          }};
}

timespec AnyTime(Random& random) {
  const auto nanoseconds = static_cast<long>(random.Uniform(1'000'000'000));
  switch (random.Uniform(6)) {
    case 0:
      return {0, UTIME_OMIT};
    case 1:
      return {0, UTIME_NOW};
    case 2:
      return {-static_cast<time_t>(random.Uniform(2'000'000'000)), nanoseconds};
    case 3:  // after 2038, within what ext4 can store
      return {static_cast<time_t>(random.Uniform(7'000'000'000)), nanoseconds};
    default:
      return {static_cast<time_t>(random.Uniform(1'500'000'000)), nanoseconds};
  }
}

std::string TimeText(const timespec& time) {
  if (time.tv_nsec == UTIME_OMIT) return "omit";
  if (time.tv_nsec == UTIME_NOW) return "now";
  return fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec);
}

Operation Utimens(Random& random) {
  const bool uses_slot = random.OneIn(4);
  const std::string path = AnyPath(random);
  const int slot = UsedSlot(random);
  const std::array<timespec, 2> times = {AnyTime(random), AnyTime(random)};
  const int flags = random.OneIn(3) ? AT_SYMLINK_NOFOLLOW : 0;
  const bool is_null = random.OneIn(10);
  Operation operation{
      fmt::format("utimens({}, {}, {}, flags {}){}", uses_slot ? SlotText(slot) : Printable(path),
                  TimeText(times[0]), TimeText(times[1]), flags, is_null ? " null" : ""),
      {},
      {},
      [=](Side& side) {
        const timespec* const asked = is_null ? nullptr : times.data();
        if (uses_slot) return Called(futimens(At(side, slot), asked));
        return Called(utimensat(AT_FDCWD, path.c_str(), asked, flags));
      }};
  if (uses_slot) {
    operation.slots = {slot};
  } else {
    operation.paths = {path};
  }
  return operation;
}

Operation Access(Random& random) {
  const std::string path = AnyPath(random);
  const int mode = static_cast<int>(random.Uniform(8));
  const int flags = random.OneIn(2) ? AT_EACCESS : 0;
  return {fmt::format("access({}, {}, flags {})", Printable(path), mode, flags),
          {path},
          {},
          [=](Side&) { return Called(faccessat(AT_FDCWD, path.c_str(), mode, flags)); }};
}

// --- Extended attributes -------------------------------------------------------------------------

std::string XattrName(Random& random) {
  static const std::string long_name = "user." + std::string(250, 'x');
  return Pick<std::string>(random, {"user.a", "user.b", "user.c", "user.a", "user.b", long_name,
                                    "trusted.t", "security.s", "user.", "bad", "system.bad"});
}

std::string XattrValue(Random& random) {
  return std::string(AnyData(random, random.OneIn(10) ? random.Uniform(1500) : random.Uniform(60)));
}

Operation SetXattr(Random& random) {
  const std::string path = AnyPath(random);
  const std::string name = XattrName(random);
  const std::string value = XattrValue(random);
  const int flags = Pick<int>(random, {0, 0, 0, XATTR_CREATE, XATTR_REPLACE});
  return {fmt::format("lsetxattr({}, {}, {}, flags {})", Printable(path), name, Fingerprint(value),
                      flags),
          {path},
          {},
          [=](Side&) {
            return Called(lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags));
          }};
}

Operation SetSlotXattr(Random& random) {
  const int slot = UsedSlot(random);
  const std::string name = XattrName(random);
  const std::string value = XattrValue(random);
  return {fmt::format("fsetxattr({}, {}, {})", SlotText(slot), name, Fingerprint(value)),
          {},
          {slot},
          [=](Side& side) {
            return Called(fsetxattr(At(side, slot), name.c_str(), value.data(), value.size(), 0));
          }};
}

Operation ReadXattr(Random& random, const std::string& name) {
  const std::string path = AnyPath(random);
  const size_t room = Pick<size_t>(random, {4096, 4096, 4096, 10, 0});
  return {
      fmt::format("lgetxattr({}, {}, {})", Printable(path), name, room), {path}, {}, [=](Side&) {
        std::string buffer(room, '\0');
        const ssize_t count = lgetxattr(path.c_str(), name.c_str(), buffer.data(), room);
        if (room == 0) return Called(count);
        return ReadOutcome(count, std::move(buffer));
      }};
}

Operation GetXattr(Random& random) { return ReadXattr(random, XattrName(random)); }

Operation ListXattr(Random& random) {
  const std::string path = AnyPath(random);
  return {fmt::format("llistxattr({})", Printable(path)), {path}, {}, [=](Side&) {
            std::string buffer(4096, '\0');
            const ssize_t count = llistxattr(path.c_str(), buffer.data(), buffer.size());
            if (count < 0) return Called(count);
            std::set<std::string> names;
            for (size_t at = 0; at < static_cast<size_t>(count);) {
              const std::string name = buffer.c_str() + at;
              at += name.size() + 1;
              names.insert(name);
            }
            return Outcome{count, 0, fmt::format("{}", fmt::join(names, " "))};
          }};
}

Operation EraseXattr(Random& random, const std::string& name) {
  const std::string path = AnyPath(random);
  return {fmt::format("lremovexattr({}, {})", Printable(path), name), {path}, {}, [=](Side&) {
            return Called(lremovexattr(path.c_str(), name.c_str()));
          }};
}

Operation RemoveXattr(Random& random) { return EraseXattr(random, XattrName(random)); }

// --- Access control lists ------------------------------------------------------------------------

const char* AclName(Random& random) {
  return Pick<const char*>(random, {"system.posix_acl_access", "system.posix_acl_default"});
}

void AppendNumber(uint64_t number, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) *out += static_cast<char>(number >> (8 * i) & 0xff);
}

// The kernel's format: version, then {tag, permissions, id} each. Mostly valid.
std::string AnyAcl(Random& random) {
  enum { kUserObj = 1, kUser = 2, kGroupObj = 4, kGroup = 8, kMask = 16, kOther = 32 };
  constexpr uint32_t kNoId = UINT32_MAX;
  std::string acl;
  AppendNumber(random.OneIn(40) ? 3 : 2, 4, &acl);
  const auto add = [&](int tag, uint32_t id) {
    if (random.OneIn(60)) return;
    AppendNumber(static_cast<uint64_t>(tag), 2, &acl);
    AppendNumber(random.OneIn(60) ? 8 : random.Uniform(8), 2, &acl);
    AppendNumber(id, 4, &acl);
  };
  const bool has_user = random.OneIn(2);
  const bool has_group = random.OneIn(3);
  add(kUserObj, kNoId);
  if (has_user) add(kUser, 1001);
  if (has_user && random.OneIn(2)) add(kUser, 1002);
  add(kGroupObj, kNoId);
  if (has_group) add(kGroup, 2000);
  if (has_user || has_group || random.OneIn(4)) add(kMask, kNoId);
  add(kOther, kNoId);
  return acl;
}

Operation SetAcl(Random& random) {
  const std::string path = random.OneIn(2) ? AnyPath(random) : DirectoryPath(random);
  const char* const name = AclName(random);
  const std::string acl = AnyAcl(random);
  return {fmt::format("setxattr({}, {}, {})", Printable(path), name, Printable(acl)),
          {path},
          {},
          [=](Side&) {
            // A list may take execution from the group and leave setgid alone: see SetgidAlone.
            struct stat status = {};
            if (stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
                (status.st_mode & S_ISGID) != 0 &&
                chmod(path.c_str(), status.st_mode & 07777 & ~mode_t{S_ISGID}) != 0) {
              return Called(-1);
            }
            return Called(setxattr(path.c_str(), name, acl.data(), acl.size(), 0));
          }};
}

Operation GetAcl(Random& random) { return ReadXattr(random, AclName(random)); }
// Where there is none, nothing happens; with its write-back cache the kernel moves ctime, though.
Operation RemoveAcl(Random& random) {
  Operation operation = EraseXattr(random, AclName(random));
  operation.compares_times = false;
  return operation;
}

// --- Directories ---------------------------------------------------------------------------------

using Listing = std::unique_ptr<DIR, int (*)(DIR*)>;

Outcome ListDirectory(int fd) {
  if (fd < 0) return Called(-1);
  const Listing listing(fdopendir(fd), closedir);
  if (listing == nullptr) {
    const Outcome outcome = Called(-1);
    close(fd);
    return outcome;
  }
  std::multiset<std::string> entries;
  errno = 0;
  while (const dirent* const entry = readdir(listing.get())) {
    entries.insert(fmt::format("{}:{}", Printable(entry->d_name), entry->d_type));
  }
  return {static_cast<int64_t>(entries.size()), errno, fmt::format("{}", fmt::join(entries, "\n"))};
}

Operation Readdir(Random& random) {
  const std::string path = random.OneIn(3) ? "." : DirectoryPath(random);
  return {fmt::format("readdir({})", Printable(path)), {path}, {}, [=](Side&) {
            return ListDirectory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
          }};
}

// A descriptor of its own, but in a directory that may have no name any more.
Operation ReaddirSlot(Random& random) {
  const int slot = UsedSlot(random);
  return {fmt::format("readdir({})", SlotText(slot)), {}, {slot}, [=](Side& side) {
            return ListDirectory(openat(At(side, slot), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
          }};
}

// A listing that others change while it is read: what is there all the time comes exactly once,
// and after rewinding everything does.
Operation Churn(Random& random) {
  const std::string path = DirectoryPath(random);
  const uint64_t count = random.OneIn(4) ? random.Uniform(600) : random.Uniform(50);
  const uint64_t pause = random.Uniform(count + 1);
  return {fmt::format("churn of {} files in {}, after reading {}", count, Printable(path), pause),
          {path},
          {},
          [=](Side&) {
            const UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            if (!folder.valid()) return Called(-1);
            const auto make = [&](const std::string& name) {
              const UniqueFd fd(
                  openat(folder.get(), name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
            };
            for (uint64_t i = 0; i < count; ++i) make(fmt::format("stay{}", i));
            for (uint64_t i = 0; i < count; ++i) make(fmt::format("go{}", i));
            const Listing listing(
                fdopendir(openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
            if (listing == nullptr) return Called(-1);
            std::multiset<std::string> seen;
            const auto read_up_to = [&](uint64_t most) {
              for (uint64_t i = 0; i < most; ++i) {
                const dirent* const entry = readdir(listing.get());
                if (entry == nullptr) return;
                const std::string name = entry->d_name;
                if (!name.starts_with("go") && !name.starts_with("new")) seen.insert(name);
              }
            };
            read_up_to(pause);
            for (uint64_t i = 0; i < count; ++i) make(fmt::format("new{}", i));
            for (uint64_t i = 0; i < count; ++i) {
              unlinkat(folder.get(), fmt::format("go{}", i).c_str(), 0);
            }
            read_up_to(UINT64_MAX);
            Outcome outcome{0, 0, fmt::format("{}", fmt::join(seen, " "))};
            rewinddir(listing.get());
            seen.clear();
            while (const dirent* const entry = readdir(listing.get())) seen.insert(entry->d_name);
            outcome.data += fmt::format("\nrewound: {}", fmt::join(seen, " "));
            for (uint64_t i = 0; i < count; ++i) {
              unlinkat(folder.get(), fmt::format("new{}", i).c_str(), 0);
              unlinkat(folder.get(), fmt::format("stay{}", i).c_str(), 0);
            }
            return outcome;
          }};
}

// Removes in the order of names, so that both sides do the same.
void RemoveBelow(int parent, const std::string& name, Outcome* outcome) {
  if (unlinkat(parent, name.c_str(), 0) == 0) {
    ++outcome->value;
    return;
  }
  if (errno != EISDIR) {
    outcome->data += fmt::format(" {}", errno);
    return;
  }
  const UniqueFd folder(
      openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder.valid()) {
    std::set<std::string> names;
    {
      const Listing listing(
          fdopendir(openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
      while (const dirent* const entry = listing == nullptr ? nullptr : readdir(listing.get())) {
        const std::string entry_name = entry->d_name;
        if (entry_name != "." && entry_name != "..") names.insert(entry_name);
      }
    }
    for (const std::string& inner : names) RemoveBelow(folder.get(), inner, outcome);
  }
  if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) {
    ++outcome->value;
  } else {
    outcome->data += fmt::format(" rmdir {}", errno);
  }
}

Operation RemoveTree(Random& random) {
  std::string path =
      random.OneIn(20) ? "z" : AnyFolder(random) + fmt::format("d{}", random.Uniform(3));
  return {fmt::format("rm -r {}", Printable(path)), {path}, {}, [=](Side&) {
            Outcome outcome;
            RemoveBelow(AT_FDCWD, path, &outcome);
            return outcome;
          }};
}

}  // namespace

Operation CloseSlot(int slot) {
  return {fmt::format("close({})", SlotText(slot)), {}, {slot}, [=](Side& side) {
            const int fd = At(side, slot);
            struct stat status = {};
            Outcome outcome = Called(fstat(fd, &status));
            if (outcome.value < 0) return outcome;
            if (S_ISREG(status.st_mode) && status.st_nlink == 0) {
              std::string buffer(4 * kLengthMax, '\0');
              const ssize_t count = pread(fd, buffer.data(), buffer.size(), 0);
              outcome = ReadOutcome(count, std::move(buffer));
            }
            Assign(side, slot, -1);
            return outcome;
          }};
}

const std::vector<OperationKind>& AllOperationKinds() {
  static const std::vector<OperationKind> kinds = {
      {"open", "open", 100, Open},
      {"opendir", "open", 8, OpenDirectory},
      {"close", "open", 10, Close},
      {"read", "data", 30, Read},
      {"pread", "data", 60, Pread},
      {"write", "data", 50, Write},
      {"pwrite", "data", 70, Pwrite},
      {"write once", "data", 60, WriteOnce},
      {"read once", "data", 50, ReadOnce},
      {"lseek", "data", 20, Seek},
      {"direct", "direct", 15, Direct},
      {"mmap", "mmap", 20, MapAndSync},
      {"mmap dirty", "mmap-dirty", 10, MapAndLeave},
      {"truncate", "truncate", 25, Truncate},
      {"ftruncate", "truncate", 35, Ftruncate},
      {"fallocate", "fallocate", 60, Fallocate},
      {"seek hole", "seek-hole", 40, SeekHole},
      {"copy_file_range", "copy", 40, CopyRange},
      {"rename", "rename", 70, Rename},
      {"rename bad flags", "rename", 2, RenameBadFlags},
      {"rename whiteout", "whiteout", 10, RenameWhiteout},
      {"link", "link", 40, Link},
      {"link slot", "link", 10, LinkSlot},
      {"tmpfile", "tmpfile", 20, TemporaryFile},
      {"unlink", "unlink", 45, Unlink},
      {"mkdir", "directory", 60, Mkdir},
      {"rmdir", "directory", 30, Rmdir},
      {"chain", "directory", 2, MakeChain},
      {"mkdir -p", "directory", 40, MakeFolders},
      {"rm -r", "directory", 1, RemoveTree},
      {"at slot", "directory", 25, AtSlot},
      {"symlink", "symlink", 30, Symlink},
      {"readlink", "symlink", 20, Readlink},
      {"mknod", "node", 25, Mknod},
      {"chmod", "attributes", 30, Chmod},
      {"fchmod", "attributes", 10, Fchmod},
      {"chown", "attributes", 30, Chown},
      {"setgid alone", "setgid-alone", 2, SetgidAlone},
      {"chown to same", "chown-same", 2, ChownToSame},
      {"fchown", "attributes", 10, Fchown},
      {"utimens", "attributes", 30, Utimens},
      {"access", "attributes", 30, Access},
      {"lsetxattr", "xattr", 40, SetXattr},
      {"fsetxattr", "xattr", 15, SetSlotXattr},
      {"lgetxattr", "xattr", 25, GetXattr},
      {"llistxattr", "xattr", 15, ListXattr},
      {"lremovexattr", "xattr", 15, RemoveXattr},
      {"set acl", "acl", 30, SetAcl},
      {"get acl", "acl", 15, GetAcl},
      {"remove acl", "acl", 8, RemoveAcl},
      {"readdir", "readdir", 20, Readdir},
      {"readdir slot", "readdir", 10, ReaddirSlot},
      {"churn", "readdir", 1, Churn},
      {"flock", "lock", 15, Flock},
      {"range lock", "lock", 15, RangeLock},
      {"drop pages", "sync", 20, DropPages},
      {"fsync", "sync", 3, Fsync},
  };
  return kinds;
}

}  // namespace terracefs::compare
