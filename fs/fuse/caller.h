#pragma once

#include <cstdint>
#include <string_view>

namespace terracefs::fs {

// What a request does not say of who sends it, but /proc does while the sender waits for the
// answer.

// Whether the thread `pid` may give the setgid bit to a file of `group`: it is a member, or has
// CAP_FSETID. False if nothing is known of it, as of threads in other pid namespaces.
bool MayKeepSetgid(uint32_t pid, uint32_t group);
// The same, from the text of /proc/PID/status.
bool StatusAllowsSetgid(std::string_view status, uint32_t group);

}  // namespace terracefs::fs
