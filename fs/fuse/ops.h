#pragma once

#include "fs/fuse/libfuse.h"

namespace terracefs::fs {

// The callbacks for fuse_session_new, whose userdata must be a Service.
const fuse_lowlevel_ops& Operations();

// What FUSE_INIT agrees on; part of Operations(). (fs/fuse/init.cc)
void Init(void* userdata, fuse_conn_info* connection) noexcept;

}  // namespace terracefs::fs
