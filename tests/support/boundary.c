/* Stands between a program and the system at every boundary where a crash matters: writes, syncs, renames and removals of the
   files of a gateway, and what goes over the sockets of its records, its partner and its MESH.

   Loaded with LD_PRELOAD into the very program that ships, which knows nothing of it. WEIR_BOUNDARY_CONTROL names a file of CONTROL_BYTES
   that is mapped and shared with the test: the counts in it outlive a kill. WEIR_BOUNDARY_PORTS says which port is whose, as
   "records=1,partner=2,mesh=3". The layout of the file stands in boundary.rs too. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { TRACE = 1 << 16, MAGIC = 0x77656972 };

/* In the order of `Kind` in boundary.rs. */
enum kind {
    NONE,
    RECORDS_ACCEPT, RECORDS_RECEIVE, RECORDS_SEND,
    PARTNER_CONNECT, PARTNER_SEND, PARTNER_RECEIVE,
    LOG_WRITE, LOG_SYNC, DATABASE_WRITE, DATABASE_SYNC, TRUNCATE,
    SPOOL_WRITE, SPOOL_SYNC, SPOOL_RENAME, SPOOL_FOLDER_SYNC,
    ACT_REMOVE, ACT_RENAME,
    MESH_CONNECT, MESH_SEND, MESH_RECEIVE,
    FOLD_SYNC,
    KINDS
};

struct control {
    _Atomic uint64_t magic;
    _Atomic int64_t clock_shift_seconds;
    _Atomic uint64_t calls;        /* boundaries so far */
    _Atomic uint64_t target;       /* the one that is hit, from 1; 0 for none */
    _Atomic uint64_t target_kind;  /* counts boundaries of this kind alone; 0 for all */
    _Atomic uint64_t target_syncs; /* counts once the log was synced so often */
    _Atomic uint64_t target_after; /* 1: when the call was made, 0: before */
    _Atomic uint64_t target_error; /* 0: SIGKILL; else the call fails with this errno, once */
    _Atomic uint64_t error;        /* every call of the kinds below fails with this errno; 0 for none */
    _Atomic uint64_t error_kinds;  /* bits */
    _Atomic uint64_t seen;         /* how many were counted */
    _Atomic uint64_t hit;          /* the number of the boundary that was hit */
    _Atomic uint64_t counts[32];
    _Atomic uint8_t trace[TRACE];
};

static struct control *control;
static _Atomic int log_is_written;
static uint16_t records_port, partner_port, mesh_port;

static uint16_t port_in(const char *ports, const char *name) {
    const char *found = ports ? strstr(ports, name) : NULL;
    return found ? (uint16_t)atoi(found + strlen(name)) : 0;
}

__attribute__((constructor)) static void load(void) {
    const char *path = getenv("WEIR_BOUNDARY_CONTROL"), *ports = getenv("WEIR_BOUNDARY_PORTS");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED) return;
    records_port = port_in(ports, "records=");
    partner_port = port_in(ports, "partner=");
    mesh_port = port_in(ports, "mesh=");
    control = mapped;
    atomic_store(&control->magic, MAGIC);
}

static void die(void) {
    for (;;) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* Whether this call is the one to be hit. */
static int begins(enum kind kind) {
    uint64_t number = atomic_fetch_add(&control->calls, 1) + 1, wanted = atomic_load(&control->target_kind);
    int counts = atomic_load(&control->target) != 0 && (wanted == 0 || wanted == (uint64_t)kind)
        && atomic_load(&control->counts[LOG_SYNC]) >= atomic_load(&control->target_syncs);
    atomic_fetch_add(&control->counts[kind], 1);
    atomic_store(&control->trace[number % TRACE], (uint8_t)kind);
    int is_hit = counts && atomic_fetch_add(&control->seen, 1) + 1 == atomic_load(&control->target);
    if (is_hit) {
        atomic_store(&control->hit, number);
        if (atomic_load(&control->target_error) == 0 && atomic_load(&control->target_after) == 0) die();
    }
    return is_hit;
}

/* The errno that the call is to fail with instead of being made; 0 for none. */
static int fails(enum kind kind, int is_hit) {
    uint64_t once = atomic_load(&control->target_error), always = atomic_load(&control->error);
    if (is_hit && once != 0) return (int)once;
    return always != 0 && (atomic_load(&control->error_kinds) >> kind & 1) != 0 ? (int)always : 0;
}

static void ends(int is_hit) {
    if (is_hit && atomic_load(&control->target_error) == 0) die();
}

#define NEXT(name) ({ static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })

/* Makes the call at its boundary. */
#define AT(kind_of, call) do { \
        enum kind kind = control ? (kind_of) : NONE; \
        if (kind == NONE) return call; \
        int is_hit = begins(kind), failure = fails(kind, is_hit); \
        if (failure) { errno = failure; return -1; } \
        __typeof__(call) made = call; \
        int said = errno; ends(is_hit); errno = said; \
        return made; \
    } while (0)

/* A boundary once the call has brought something. */
#define ONCE_DONE(kind_of, call) do { \
        __typeof__(call) made = call; \
        int said = errno; \
        enum kind kind = control && made >= (__typeof__(made))1 ? (kind_of) : NONE; \
        if (kind != NONE) ends(begins(kind)); \
        errno = said; \
        return made; \
    } while (0)

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), other = strlen(end);
    return length >= other && strcmp(text + length - other, end) == 0;
}

static enum kind of_file(int fd, enum kind log, enum kind database, enum kind spool) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || path[0] != '/') return NONE;
    path[length] = 0;
    if (ends_with(path, ".sqlite3-wal")) return log;
    if (ends_with(path, ".sqlite3")) return database;
    if (ends_with(path, "/incidents")) return spool == SPOOL_SYNC ? SPOOL_FOLDER_SYNC : NONE;
    return strstr(path, "/incidents/") ? spool : NONE;
}

static uint16_t port_of(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

static enum kind of_socket(int fd, enum kind records, enum kind partner, enum kind mesh) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return NONE;
    if (records_port && port_of(&address) == records_port) return records;
    length = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &length) != 0) return NONE;
    if (partner_port && port_of(&address) == partner_port) return partner;
    return mesh_port && port_of(&address) == mesh_port ? mesh : NONE;
}

static enum kind of_write(int fd) {
    enum kind kind = of_file(fd, LOG_WRITE, DATABASE_WRITE, SPOOL_WRITE);
    return kind != NONE ? kind : of_socket(fd, RECORDS_SEND, PARTNER_SEND, MESH_SEND);
}

ssize_t write(int fd, const void *bytes, size_t count) { AT(of_write(fd), NEXT(write)(fd, bytes, count)); }

ssize_t writev(int fd, const struct iovec *parts, int count) { AT(of_write(fd), NEXT(writev)(fd, parts, count)); }

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    AT(of_socket(fd, RECORDS_SEND, PARTNER_SEND, MESH_SEND), NEXT(send)(fd, bytes, count, flags));
}

ssize_t recv(int fd, void *bytes, size_t count, int flags) {
    ONCE_DONE(of_socket(fd, RECORDS_RECEIVE, PARTNER_RECEIVE, MESH_RECEIVE), NEXT(recv)(fd, bytes, count, flags));
}

/* A sync of the log that ends a transaction; one with no page written before it begins the folding of the log into the
   database, or the log anew: what stands at its begin is its head. One thread writes. */
static enum kind of_sync(int fd) {
    enum kind kind = of_file(fd, LOG_SYNC, DATABASE_SYNC, SPOOL_SYNC);
    return kind == LOG_SYNC && !atomic_exchange(&log_is_written, 0) ? FOLD_SYNC : kind;
}

static enum kind of_page(int fd, off64_t at) {
    enum kind kind = of_file(fd, LOG_WRITE, DATABASE_WRITE, NONE);
    if (kind == LOG_WRITE && at > 0) atomic_store(&log_is_written, 1);
    return kind;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    AT(of_page(fd, at), NEXT(pwrite)(fd, bytes, count, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    AT(of_page(fd, at), NEXT(pwrite64)(fd, bytes, count, at));
}

int fsync(int fd) { AT(of_sync(fd), NEXT(fsync)(fd)); }

int fdatasync(int fd) { AT(of_sync(fd), NEXT(fdatasync)(fd)); }

int ftruncate(int fd, off_t length) { AT(of_file(fd, TRUNCATE, TRUNCATE, NONE), NEXT(ftruncate)(fd, length)); }

int ftruncate64(int fd, off64_t length) { AT(of_file(fd, TRUNCATE, TRUNCATE, NONE), NEXT(ftruncate64)(fd, length)); }

int rename(const char *from, const char *to) {
    AT(strstr(to, "/incidents/") ? SPOOL_RENAME : strstr(from, "/acts/") ? ACT_RENAME : NONE, NEXT(rename)(from, to));
}

int unlink(const char *path) { AT(strstr(path, "/acts/") ? ACT_REMOVE : NONE, NEXT(unlink)(path)); }

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    struct sockaddr_storage address = {0};
    memcpy(&address, to, length < sizeof address ? length : sizeof address);
    uint16_t port = port_of(&address);
    AT(partner_port && port == partner_port ? PARTNER_CONNECT : mesh_port && port == mesh_port ? MESH_CONNECT : NONE,
       NEXT(connect)(fd, to, length));
}

int accept4(int fd, struct sockaddr *from, socklen_t *length, int flags) {
    ONCE_DONE(of_socket(made, RECORDS_ACCEPT, NONE, NONE), NEXT(accept4)(fd, from, length, flags));
}

static int64_t shift(void) { return control ? atomic_load(&control->clock_shift_seconds) : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int made = NEXT(clock_gettime)(clock, now);
    if (made == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return made;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int made = NEXT(gettimeofday)(now, zone);
    if (made == 0) now->tv_sec += shift();
    return made;
}

time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}
