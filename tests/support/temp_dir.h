#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "io/base/check.h"

namespace terracefs::testing {

// A new empty directory, removed with all it holds at the end. It lies where the test runs, which
// under ctest is the build directory: /tmp may be in memory, where O_DIRECT and syncs mean nothing.
// Falls back to the system's temporary directory if that place cannot be written.
class TempDir {
 public:
  TempDir() {
    std::error_code ignored;
    for (const auto& parent :
         {std::filesystem::current_path(ignored), std::filesystem::temp_directory_path(ignored)}) {
      std::string pattern = (parent / "terracefs_test.XXXXXX").string();
      if (mkdtemp(pattern.data()) == nullptr) continue;
      path_ = pattern;
      return;
    }
    CHECK(!path_.empty());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace terracefs::testing
