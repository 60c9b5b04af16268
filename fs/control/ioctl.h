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
#define TERRACEFS_COUNTS 16
#define TERRACEFS_NAME_BYTES 32
#define TERRACEFS_MESSAGE_BYTES 256
#define TERRACEFS_PASSES 16
#define TERRACEFS_SETTINGS 16
#define TERRACEFS_VALUE_BYTES 96

enum terracefs_compact_flags {
  /* Tables are rewritten on their own level, nothing sinks. */
  TERRACEFS_COMPACT_SELF_LEVEL = 1,
  /* Nothing is changed: the job says what it would read, write and give back. */
  TERRACEFS_COMPACT_DRY_RUN = 2,
  /* Only what belongs to the file on which this is called; to a directory belongs its tree. */
  TERRACEFS_COMPACT_PATH = 4,
  /* After the levels, value files are vacuumed down to (nearly) no garbage. */
  TERRACEFS_COMPACT_VACUUM = 8,
};

/* Starts a compaction; `job` is its id. EBUSY: as many jobs as may are running. */
struct terracefs_compact {
  __u32 version;       /* in: TERRACEFS_IOC_VERSION */
  __s32 level;         /* in: only this level, -1 = all */
  __u64 flags;         /* in: enum terracefs_compact_flags, or-ed */
  __u64 reclaim_bytes; /* in: end once the store is so much smaller; 0 = no such goal */
  __u64 job;           /* out */
  __u64 reserved[12];
};

enum terracefs_job_action {
  TERRACEFS_JOB_STATUS = 0,
  TERRACEFS_JOB_CANCEL = 1,
  TERRACEFS_JOB_PAUSE = 2,
  TERRACEFS_JOB_RESUME = 3,
  /* Status of the first job after number `job`: begin with 0, go on with what is answered, and all
   * are listed when there is none (ENOENT). */
  TERRACEFS_JOB_NEXT = 4,
};

enum terracefs_job_state {
  TERRACEFS_JOB_RUNNING = 1,
  TERRACEFS_JOB_DONE = 2,
  TERRACEFS_JOB_FAILED = 3,
  TERRACEFS_JOB_CANCELLED = 4,
  TERRACEFS_JOB_PAUSED = 5, /* goes on or ends when told to */
};

enum terracefs_job_flags {
  TERRACEFS_JOB_ESTIMATE = 1, /* a dry run: all bytes are what would be */
};

struct terracefs_pass {
  char name[TERRACEFS_NAME_BYTES];
  __u64 bytes_done; /* of this pass's input */
  __u64 bytes_total;
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 nanoseconds;
};

/* Asks about, or acts on, a job, and says how it stands then. The last 64 finished jobs are
 * remembered; to act on one of those is no error and has no effect. ENOENT: no such job. */
struct terracefs_job {
  __u32 version; /* in */
  __u32 action;  /* in: enum terracefs_job_action */
  __u64 job;     /* in; 0 with STATUS = the newest */
  __u32 state;   /* out: enum terracefs_job_state */
  __u32 pass_count;
  __u64 flags; /* out: enum terracefs_job_flags, or-ed */
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 bytes_reclaimed; /* by how much tables and value files became smaller */
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
  __u64 target_bytes;
  __u64 score_milli; /* score * 1000 */
  __u64 tombstones;
  __u64 garbage_bytes; /* estimate of what could go */
  /* Compactions into this level. */
  __u64 jobs;
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 nanoseconds;
};

struct terracefs_count {
  char name[TERRACEFS_NAME_BYTES];
  __u64 count;
};

struct terracefs_stats {
  __u32 version; /* in */
  __u32 daemon_pid;
  char program_version[TERRACEFS_NAME_BYTES];
  char transport[TERRACEFS_NAME_BYTES];    /* "dev" or "uring" */
  char io_backend[TERRACEFS_NAME_BYTES];   /* "io_uring" or "posix" */
  char limiter_mode[TERRACEFS_NAME_BYTES]; /* "auto", "fixed" or "unlimited" */
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
  struct terracefs_count dropped[TERRACEFS_COUNTS];    /* entries, by rule */
  struct terracefs_count job_reason[TERRACEFS_COUNTS]; /* compactions begun, by reason */
  __u64 reserved[32];
};

enum terracefs_sync_flags {
  /* What a remount changes beside; for the mount's owner. Read-only comes before the sync, so that
   * nothing is left to be made durable. Writable: EROFS if it was mounted read-only. */
  TERRACEFS_SYNC_READ_ONLY = 1,
  TERRACEFS_SYNC_WRITABLE = 2,
  TERRACEFS_SYNC_NOATIME = 4,
  TERRACEFS_SYNC_RELATIME = 8,
  TERRACEFS_SYNC_STRICTATIME = 16,
};

struct terracefs_sync {
  __u32 version;          /* in */
  __u32 flags;            /* in: enum terracefs_sync_flags, or-ed; 0 = sync only */
  __u64 durable_sequence; /* out */
  __u64 reserved[6];
};

enum terracefs_config_action {
  TERRACEFS_CONFIG_LIST = 0,
  TERRACEFS_CONFIG_GET = 1,
  TERRACEFS_CONFIG_SET = 2,
};

struct terracefs_setting {
  char key[TERRACEFS_NAME_BYTES];    /* as in a mount option */
  char value[TERRACEFS_VALUE_BYTES]; /* as in a mount option */
};

/* Live settings. GET and SET use the first setting only; SET answers with the value that is in
 * force then. EINVAL: no such setting, or a value that it does not take, and nothing has changed.
 * Texts end with a zero byte. */
struct terracefs_config {
  __u32 version; /* in */
  __u32 action;  /* in: enum terracefs_config_action */
  __u64 count;   /* out: settings that are filled in */
  struct terracefs_setting setting[TERRACEFS_SETTINGS];
  __u64 reserved[8];
};

/* Where the bytes are, and what holds those that are of no use any more. Estimates, but for
 * `capacity` and `physical_bytes`; `live_bytes`, everything reclaimable, `log_bytes`,
 * `spare_bytes` and `metadata_bytes` together are `physical_bytes`. */
struct terracefs_space {
  __u32 version; /* in */
  __u32 flags;   /* in: 0 */
  __u64 capacity_bytes;
  __u64 live_bytes;
  __u64 physical_bytes; /* lengths of the store's files */
  /* Reclaimable. */
  __u64 tombstone_bytes;     /* in tables: what deletions and overwriting left */
  __u64 blob_garbage_bytes;  /* in value files: what nothing refers to any more */
  __u64 open_unlinked_bytes; /* of files that are unlinked, but open */
  __u64 obsolete_file_bytes; /* files that only wait for their last reader */
  /* Overhead. */
  __u64 log_bytes;
  __u64 spare_bytes; /* preallocated for values to come */
  __u64 metadata_bytes;
  __u64 rate;  /* of background work, bytes a second; 0 = unlimited */
  __u64 eta_s; /* how long that takes at least for what deletions left; 0 if nothing or unlimited */
  __u64 reserved[16];
};

#define TERRACEFS_IOC_MAGIC 0xE7
#define TERRACEFS_IOC_COMPACT _IOWR(TERRACEFS_IOC_MAGIC, 1, struct terracefs_compact)
#define TERRACEFS_IOC_JOB _IOWR(TERRACEFS_IOC_MAGIC, 2, struct terracefs_job)
#define TERRACEFS_IOC_STATS _IOWR(TERRACEFS_IOC_MAGIC, 3, struct terracefs_stats)
#define TERRACEFS_IOC_SPACE _IOWR(TERRACEFS_IOC_MAGIC, 4, struct terracefs_space)
#define TERRACEFS_IOC_CONFIG _IOWR(TERRACEFS_IOC_MAGIC, 5, struct terracefs_config)
#define TERRACEFS_IOC_SYNC _IOWR(TERRACEFS_IOC_MAGIC, 7, struct terracefs_sync)

#ifdef __cplusplus
}
#endif

#endif /* TERRACEFS_IOCTL_H */
