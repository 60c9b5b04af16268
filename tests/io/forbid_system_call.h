#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace terracefs::io {

// Makes the system call `number` answer with `error` for the rest of the calling thread. False
// where that is not possible. The rest of a process stays as it is.
inline bool ForbidSystemCall(uint32_t number, int error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter{std::size(program), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// As container runtimes do for whole processes.
inline bool ForbidUring(int error) { return ForbidSystemCall(__NR_io_uring_setup, error); }

// As filesystems without the operation do: EOPNOTSUPP.
inline bool ForbidFallocate(int error) { return ForbidSystemCall(__NR_fallocate, error); }

}  // namespace terracefs::io
