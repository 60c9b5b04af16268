#pragma once

// The one place that names the version of libfuse's interface. Debian 12 has 3.14; 3.18 brings the
// io_uring transport, killpriv_v2 and statx, which the sources ask for by FUSE_VERSION.
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <fuse_lowlevel.h>

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
#define TERRACEFS_LIBFUSE_HAS_URING 1
#else
#define TERRACEFS_LIBFUSE_HAS_URING 0
#endif

// Libfuse up to 3.18.3 now and then loses an answer that another thread than the ring's gives, and
// the caller hangs for ever. scripts/build_libfuse.sh repairs that, and the repair leaves this
// mark.
#if TERRACEFS_LIBFUSE_HAS_URING && defined(FUSE_URING_REPLY_FROM_ANY_THREAD)
#define TERRACEFS_URING_TRANSPORT_IS_SAFE 1
#else
#define TERRACEFS_URING_TRANSPORT_IS_SAFE 0
#endif
