/* TerraceFS control interface: ioctl commands on any open file or directory of a mount.
 *
 * A C header without dependencies. All structs have a fixed size below 16 KiB; all integers are
 * little-endian as on the machine; reserved members must be zero. A wrong size or version gets
 * EINVAL or ENOTTY, a missing right EPERM. Commands that change anything need the mount's owner or
 * CAP_SYS_ADMIN (uid 0).
 */
#ifndef TERRACEFS_IOCTL_H
#define TERRACEFS_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERRACEFS_IOC_VERSION 1
#define TERRACEFS_LEVELS 8
#define TERRACEFS_OPS 32
#define TERRACEFS_DROP_RULES 16
#define TERRACEFS_NAME_BYTES 32
#define TERRACEFS_MESSAGE_BYTES 256
#define TERRACEFS_PASSES 16

/* Starts a compaction; `job` is its id. */
struct terracefs_compact {
  __u32 version; /* in: TERRACEFS_IOC_VERSION */
  __s32 level;   /* in: only this level, -1 = all */
  __u64 flags;   /* in: 0 */
  __u64 job;     /* out */
  __u64 reserved[5];
};

enum terracefs_job_action {
  TERRACEFS_JOB_STATUS = 0,
  TERRACEFS_JOB_CANCEL = 1,
};

enum terracefs_job_state {
  TERRACEFS_JOB_RUNNING = 1,
  TERRACEFS_JOB_DONE = 2,
  TERRACEFS_JOB_FAILED = 3,
  TERRACEFS_JOB_CANCELLED = 4,
};

struct terracefs_pass {
  char name[TERRACEFS_NAME_BYTES];
  __u64 bytes_done; /* of this pass's input */
  __u64 bytes_total;
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 nanoseconds;
};

/* Asks about, or acts on, a job. The last 64 finished jobs are remembered. ENOENT: no such job. */
struct terracefs_job {
  __u32 version; /* in */
  __u32 action;  /* in: enum terracefs_job_action */
  __u64 job;     /* in; 0 with STATUS = the newest */
  __u32 state;   /* out: enum terracefs_job_state */
  __u32 pass_count;
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 bytes_reclaimed;
  __u64 nanoseconds;
  struct terracefs_pass pass[TERRACEFS_PASSES];
  char message[TERRACEFS_MESSAGE_BYTES]; /* why it failed */
  __u64 reserved[8];
};

struct terracefs_op_stats {
  char name[TERRACEFS_NAME_BYTES];
  __u64 count;
  __u64 p50_us;
  __u64 p99_us;
  __u64 max_us;
};

struct terracefs_level_stats {
  __u64 files;
  __u64 bytes;
  __u64 score_milli; /* score * 1000 */
  __u64 tombstones;
};

struct terracefs_drop_stats {
  char rule[TERRACEFS_NAME_BYTES];
  __u64 count;
};

struct terracefs_stats {
  __u32 version; /* in */
  __u32 daemon_pid;
  char program_version[TERRACEFS_NAME_BYTES];
  char transport[TERRACEFS_NAME_BYTES];  /* "dev" or "uring" */
  char io_backend[TERRACEFS_NAME_BYTES]; /* "io_uring" or "posix" */
  char limiter_mode[TERRACEFS_NAME_BYTES];
  char store_path[1024];
  __u64 uptime_s;
  __u64 io_submitted, io_completed, io_bytes_read, io_bytes_written, io_fsyncs;
  __u64 wal_bytes, blob_bytes, flush_bytes, stall_ms;
  __u64 jobs_running, jobs_done;
  __u64 compaction_bytes_read, compaction_bytes_written, compaction_pending_bytes;
  __u64 trivial_moves, delete_only;
  __u64 limiter_rate, limiter_bytes, limiter_waited_ms;
  __u64 cache_hits, cache_misses, cache_bytes;
  __u64 memtable_bytes, live_table_bytes, log_file_bytes;
  __u64 user_bytes_written;
  __u64 write_amplification_milli;
  struct terracefs_level_stats level[TERRACEFS_LEVELS];
  struct terracefs_op_stats op[TERRACEFS_OPS];
  struct terracefs_drop_stats dropped[TERRACEFS_DROP_RULES];
  __u64 reserved[32];
};

struct terracefs_sync {
  __u32 version;          /* in */
  __u32 flags;            /* in: 0 */
  __u64 durable_sequence; /* out */
  __u64 reserved[6];
};

#define TERRACEFS_IOC_MAGIC 0xE7
#define TERRACEFS_IOC_COMPACT _IOWR(TERRACEFS_IOC_MAGIC, 1, struct terracefs_compact)
#define TERRACEFS_IOC_JOB _IOWR(TERRACEFS_IOC_MAGIC, 2, struct terracefs_job)
#define TERRACEFS_IOC_STATS _IOWR(TERRACEFS_IOC_MAGIC, 3, struct terracefs_stats)
#define TERRACEFS_IOC_SYNC _IOWR(TERRACEFS_IOC_MAGIC, 7, struct terracefs_sync)

#ifdef __cplusplus
}
#endif

#endif /* TERRACEFS_IOCTL_H */
