// What a hostile job tries. One static program: `probes escape` tries every way out, `probes NAME [N]` one kind of abuse. Each attempt is a child of its own
// with an end; a line `NAME succeeded` or `NAME refused` says how it went.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define ATTEMPT_SECONDS 5
#define MARK "qubix-host-marker"

static int opens(const char *path, int flags) { return open(path, flags) >= 0; }

// ── Ways out ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Taken away again: the next attempts need what lies there. */
static int mounts(const char *type, const char *options) {
  return mount("none", "/tmp", type, 0, options) == 0 && umount("/tmp") == 0;
}
static int mount_tmpfs(void) { return mounts("tmpfs", ""); }
static int mount_proc(void) { return mounts("proc", ""); }
static int remount_root(void) { return mount("none", "/", "", MS_REMOUNT | MS_BIND, "") == 0; }
static int write_root(void) { return open("/qubix-was-here", O_CREAT | O_WRONLY, 0600) >= 0; }
static int raw_socket(void) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0; }
static int packet_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0) >= 0; }
static int unshare_mount(void) { return unshare(CLONE_NEWNS) == 0; }
static int unshare_user(void) { return unshare(CLONE_NEWUSER) == 0; }
static int unshare_net(void) { return unshare(CLONE_NEWNET) == 0; }
static int change_root(void) { return chroot("/tmp") == 0; }
static int host_name(void) { return sethostname("owned", 5) == 0; }
static int better_nice(void) { return setpriority(PRIO_PROCESS, 0, -20) == 0; }

/** The errno of making and opening a device, in whichever folder that gets furthest. */
static int device_error(mode_t type, unsigned major_, unsigned minor_) {
  static const char *const places[] = {"/probe-device", "/tmp/device", "/work/device", "/out/device", "/dev/shm/device"};
  int error = EPERM;
  for (size_t at = 0; at < sizeof places / sizeof *places; at++) {
    if (mknod(places[at], type | 0666, makedev(major_, minor_)) != 0) continue;
    int fd = open(places[at], O_RDONLY);
    if (fd >= 0) return 0;
    if (errno != EACCES && errno != EPERM) error = errno;
  }
  return error;
}
static int device(unsigned major_, unsigned minor_) { return device_error(S_IFCHR, major_, minor_) == 0; }
static int device_null(void) { return device(1, 3); }
static int device_kmsg(void) { return device(1, 11); }
static int dev_kmsg(void) { return opens("/dev/kmsg", O_RDONLY) || opens("/dev/mem", O_RDONLY); }
static int host_disk(void) {
  int error = device_error(S_IFBLK, 7, 0);
  // Without such a disk the right to open it is what counts.
  return error == 0 || error == ENXIO || error == ENODEV;
}

static int kernel_log(void) {
  static char text[256 * 1024];
  int bytes = klogctl(3, text, sizeof text - 1);
  // gVisor tells a tale of its own.
  return bytes >= 0 && strstr(text, "gVisor") == NULL;
}

/** The process id of the host's marked process, where its /proc is seen. */
static int marked(void) {
  DIR *proc = opendir("/proc");
  for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
    char path[300], line[300];
    snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
    int fd = open(path, O_RDONLY);
    if (fd < 0) continue;
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    if (length > 0 && memmem(line, length, MARK, strlen(MARK)) != NULL) return atoi(entry->d_name);
  }
  return 0;
}
static int host_processes(void) { return marked() > 0; }
static int ptrace_host(void) {
  int pid = marked();
  if (pid <= 0 || ptrace(PTRACE_ATTACH, pid, 0, 0) != 0) return 0;
  waitpid(pid, NULL, __WALL);
  ptrace(PTRACE_DETACH, pid, 0, 0);
  return 1;
}
static int kill_host(void) {
  int pid = marked();
  return pid > 0 && kill(pid, 0) == 0;
}
static int enter_namespace(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", marked() > 0 ? marked() : 1);
  return setns(open(path, O_RDONLY), CLONE_NEWNET) == 0;
}

static int connects(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, path);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address) == 0;
}
static int docker_socket(void) { return connects("/var/run/docker.sock") || connects("/run/docker.sock"); }

/** A route is enough: a connected datagram socket sends nothing. */
static int host_network(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
  inet_pton(AF_INET, getenv("PROBE_HOST") == NULL ? "172.17.0.1" : getenv("PROBE_HOST"), &address.sin_addr);
  return connect(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof address) == 0;
}

static int proc_sys(void) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int sysrq(void) { return opens("/proc/sysrq-trigger", O_WRONLY); }
static int sys_write(void) {
  return opens("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY) || opens("/sys/kernel/profiling", O_WRONLY);
}
static int cgroup_mount(void) {
  return mounts("cgroup2", "") || mounts("cgroup", "memory") || mounts("cgroup", "none,name=systemd");
}
static int cgroup_write(void) {
  return opens("/sys/fs/cgroup/memory/memory.limit_in_bytes", O_WRONLY) || opens("/sys/fs/cgroup/memory.max", O_WRONLY) ||
         opens("/sys/fs/cgroup/cgroup.procs", O_WRONLY) || opens("/sys/fs/cgroup/memory/cgroup.procs", O_WRONLY);
}
static int keyring(void) { return syscall(SYS_add_key, "user", "qubix", "x", 1, -3) >= 0; }
static int load_module(void) { return syscall(SYS_finit_module, -1, "", 0) == 0 || errno == EBADF; }
static int file_handle(void) {
  struct { struct file_handle head; char rest[128]; } handle = {.head = {.handle_bytes = 128}};
  int mount_id;
  if (name_to_handle_at(AT_FDCWD, "/etc/hosts", &handle.head, &mount_id, 0) != 0) return 0;
  return open_by_handle_at(open("/etc/hosts", O_RDONLY), &handle.head, O_RDONLY) >= 0;
}
static int setuid_program(void) {
  if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return 0;
  int child = fork();
  if (child == 0) {
    execl("/probes-setuid", "probes", "effective-root", NULL);
    _exit(1);
  }
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
static int other_user(void) { return geteuid() == 0 ? setresuid(1234, 1234, 1234) == 0 : setresuid(0, 0, 0) == 0; }
static int bpf_map(void) {
  struct { unsigned type, key, value, entries; char rest[100]; } map = {2, 4, 4, 1, {0}};
  return syscall(SYS_bpf, 0, &map, sizeof map) >= 0;
}

static const struct { const char *name; int (*attempt)(void); } WAYS[] = {
  {"mount-tmpfs", mount_tmpfs}, {"mount-proc", mount_proc}, {"remount-root", remount_root}, {"write-root", write_root},
  {"raw-socket", raw_socket}, {"packet-socket", packet_socket}, {"unshare-mount", unshare_mount},
  {"unshare-user", unshare_user}, {"unshare-net", unshare_net}, {"chroot", change_root}, {"host-name", host_name},
  {"better-nice", better_nice}, {"device-null", device_null}, {"device-kmsg", device_kmsg}, {"dev-kmsg", dev_kmsg},
  {"host-disk", host_disk}, {"kernel-log", kernel_log}, {"host-processes", host_processes}, {"ptrace-host", ptrace_host},
  {"kill-host", kill_host}, {"enter-namespace", enter_namespace}, {"docker-socket", docker_socket},
  {"host-network", host_network}, {"proc-sys", proc_sys}, {"sysrq", sysrq}, {"sys-write", sys_write},
  {"cgroup-mount", cgroup_mount}, {"cgroup-write", cgroup_write}, {"keyring", keyring}, {"load-module", load_module},
  {"file-handle", file_handle}, {"setuid-program", setuid_program}, {"other-user", other_user}, {"bpf-map", bpf_map},
};

static void escape(void) {
  for (size_t at = 0; at < sizeof WAYS / sizeof *WAYS; at++) {
    int child = fork(), status = 1;
    if (child == 0) {
      alarm(ATTEMPT_SECONDS);
      _exit(WAYS[at].attempt() ? 0 : 1);
    }
    waitpid(child, &status, 0);
    printf("%s %s\n", WAYS[at].name, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "succeeded" : "refused");
    fflush(stdout);
  }
}

// ── Abuse: prints how far it came ───────────────────────────────────────────────────────────────────────────────────────────────────

static void fork_bomb(int most) {
  static int children[8192];
  int made = 0;
  for (int tries = 0; tries < most; tries++) {
    int child = fork();
    if (child == 0) {
      alarm(20);
      pause();
      _exit(0);
    }
    if (child > 0) children[made++] = child;
    // The bound is reached, or the sandbox can do no more.
    else if (tries - made > 20) break;
  }
  printf("processes %d\n", made);
  fflush(stdout);
  for (int at = 0; at < made; at++) kill(children[at], SIGKILL);
  while (wait(NULL) > 0) {
  }
}

static void memory_hog(int most) {
  for (int got = 0; got < most; got++) {
    char *piece = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) break;
    memset(piece, 1, MIB);
    if ((got + 1) % 16 == 0) printf("memory %d\n", got + 1), fflush(stdout);
  }
}

static void fill(const char *path, int most) {
  static char piece[MIB];
  memset(piece, 7, sizeof piece);
  long long written = 0;
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  while (fd >= 0 && written < (long long)most * MIB) {
    ssize_t bytes = write(fd, piece, sizeof piece);
    if (bytes <= 0) break;
    written += bytes;
  }
  if (fd >= 0) fsync(fd);
  printf("filled %s %lld\n", path, written / MIB);
}

static void many_files(int most) {
  int made = 0;
  for (char path[64]; made < most; made++) {
    snprintf(path, sizeof path, "/work/f%d", made);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) break;
    close(fd);
  }
  printf("files %d\n", made);
}

static void flood(int mib) {
  static char line[64 * 1024];
  memset(line, 'x', sizeof line);
  for (size_t at = 1023; at < sizeof line; at += 1024) line[at] = '\n';
  for (long long left = (long long)mib * MIB; left > 0; left -= sizeof line)
    if (write(1, line, sizeof line) < 0) break;
}

/** Four processes that do nothing but count: how much of one core they got, in percent. */
static void cpu_hog(int seconds) {
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (int n = 0; n < 4; n++)
    if (fork() == 0) {
      for (volatile long count = 0;; count++) {
        struct timespec now;
        if (count % 1000000 == 0 && clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec - begun.tv_sec >= seconds) _exit(0);
      }
    }
  while (wait(NULL) > 0) {
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  struct rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6 + used.ru_stime.tv_sec + used.ru_stime.tv_usec / 1e6;
  double wall = ended.tv_sec - begun.tv_sec + (ended.tv_nsec - begun.tv_nsec) / 1e9;
  printf("cpu %d\n", (int)(100 * cpu / wall));
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  int amount = argc > 2 ? atoi(argv[2]) : 0;
  if (strcmp(what, "effective-root") == 0) return geteuid() == 0 ? 0 : 1;
  if (strcmp(what, "escape") == 0) escape();
  if (strcmp(what, "fork-bomb") == 0) fork_bomb(amount);
  if (strcmp(what, "memory-hog") == 0) memory_hog(amount);
  if (strcmp(what, "disk-fill") == 0) fill("/work/fill", amount), fill("/out/fill", amount);
  if (strcmp(what, "memory-fill") == 0) fill("/tmp/fill", amount), fill("/dev/shm/fill", amount);
  if (strcmp(what, "file-fill") == 0) many_files(amount);
  if (strcmp(what, "log-flood") == 0) flood(amount);
  if (strcmp(what, "cpu-hog") == 0) cpu_hog(amount);
  return 0;
}
