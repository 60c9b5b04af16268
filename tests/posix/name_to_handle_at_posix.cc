#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class NameToHandlePosix : public PosixCase {};

struct Handle {
  alignas(file_handle) char bytes[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  file_handle* get() {
    auto* const handle = reinterpret_cast<file_handle*>(bytes);
    return handle;
  }
  Handle() { get()->handle_bytes = MAX_HANDLE_SZ; }
};

TEST_F(NameToHandlePosix, Errors) {
  CheckPathErrors({.name = "name_to_handle_at",
                   .call =
                       [](const char* path) {
                         Handle handle;
                         int mount = 0;
                         return name_to_handle_at(AT_FDCWD, path, handle.get(), &mount, 0);
                       },
                   .follows = false});
  CheckAtErrors("name_to_handle_at", [](int at, const char* path) {
    Handle handle;
    int mount = 0;
    return name_to_handle_at(at, path, handle.get(), &mount, 0);
  });
  MakeFile("file");
  int mount = 0;
  Handle small;
  small.get()->handle_bytes = 0;
  FAILS(EOVERFLOW, name_to_handle_at(AT_FDCWD, Path("file"), small.get(), &mount, 0));
  SAME("name_to_handle_at", true, small.get()->handle_bytes > 0);
  Handle large;
  large.get()->handle_bytes = MAX_HANDLE_SZ + 1;
  FAILS(EINVAL, name_to_handle_at(AT_FDCWD, Path("file"), large.get(), &mount, 0));
  Handle handle;
  FAILS(EINVAL, name_to_handle_at(AT_FDCWD, Path("file"), handle.get(), &mount, 0x40000000));
  FAILS(EFAULT, name_to_handle_at(AT_FDCWD, Path("file"), Bad<file_handle>(), &mount, 0));
  OK(name_to_handle_at(AT_FDCWD, Path("file"), handle.get(), &mount, 0));
  const UniqueFd root = Open("", O_RDONLY);
  FAILS(EBADF, open_by_handle_at(-1, handle.get(), O_RDONLY));
  FAILS(EFAULT, open_by_handle_at(root.get(), Bad<file_handle>(), O_RDONLY));
  FAILS(EINVAL, open_by_handle_at(root.get(), large.get(), O_RDONLY));
  AsUser(kAlice, [&] { FAILS(EPERM, open_by_handle_at(root.get(), handle.get(), O_RDONLY)); });
  OK(unlink(Path("file")));
  FAILS(ESTALE, open_by_handle_at(root.get(), handle.get(), O_RDONLY));
}

TEST_F(NameToHandlePosix, HandlesOpenTheSameFile) {
  MakeFile("file", "content");
  MakeDirectory("dir");
  MakeFile("dir/inside");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  const UniqueFd root = Open("", O_RDONLY);
  for (const std::string name : {"file", "dir", "dir/inside", "soft"}) {
    const Parameter parameter(name);
    Handle handle;
    int mount = 0;
    OK(name_to_handle_at(AT_FDCWD, Path(name), handle.get(), &mount, 0));
    const int flags = name == "soft" ? O_PATH | O_NOFOLLOW : O_RDONLY;
    const UniqueFd fd(OK(open_by_handle_at(root.get(), handle.get(), flags)));
    struct stat attributes {};
    if (fstat(fd.get(), &attributes) != 0) continue;
    SAME("open_by_handle_at", Stat(name).st_ino, attributes.st_ino);
    SAME("open_by_handle_at", Stat(name).st_mode, attributes.st_mode);
  }
  Handle followed;
  Handle direct;
  int mount = 0;
  OK(name_to_handle_at(AT_FDCWD, Path("soft"), followed.get(), &mount, AT_SYMLINK_FOLLOW));
  OK(name_to_handle_at(AT_FDCWD, Path("file"), direct.get(), &mount, 0));
  SAME("name_to_handle_at", 0, std::memcmp(followed.bytes, direct.bytes, sizeof direct.bytes));
  ASSERT_EQ(rename(Path("file"), Path("dir/moved")), 0);
  const UniqueFd fd(OK(open_by_handle_at(root.get(), direct.get(), O_RDWR)));
  char back[16] = {};
  SAME("open_by_handle_at", 7, read(fd.get(), back, sizeof back));
  SAME("open_by_handle_at", std::string("content"), std::string(back));
  // A name that is new gets a handle that is new.
  OK(unlink(Path("dir/moved")));
  Handle other;
  MakeFile("dir/moved");
  OK(name_to_handle_at(AT_FDCWD, Path("dir/moved"), other.get(), &mount, 0));
  SAME("name_to_handle_at", true, std::memcmp(other.bytes, direct.bytes, sizeof other.bytes) != 0);
}

}  // namespace
}  // namespace terracefs::posix
