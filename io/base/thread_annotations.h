#pragma once

// Clang's thread-safety analysis; nothing for other compilers.
#if defined(__clang__)
#define TERRACEFS_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define TERRACEFS_THREAD_ATTRIBUTE(x)
#endif

#define CAPABILITY(x) TERRACEFS_THREAD_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY TERRACEFS_THREAD_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(x) TERRACEFS_THREAD_ATTRIBUTE(guarded_by(x))
#define PT_GUARDED_BY(x) TERRACEFS_THREAD_ATTRIBUTE(pt_guarded_by(x))
#define REQUIRES(...) TERRACEFS_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) TERRACEFS_THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) TERRACEFS_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) TERRACEFS_THREAD_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) TERRACEFS_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) TERRACEFS_THREAD_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) TERRACEFS_THREAD_ATTRIBUTE(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) TERRACEFS_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) TERRACEFS_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS TERRACEFS_THREAD_ATTRIBUTE(no_thread_safety_analysis)
