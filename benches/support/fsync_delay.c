/* Preloaded into a process, makes each fsync and fdatasync WEIR_FSYNC_DELAY_US microseconds longer, as a disk that
 * really writes would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_as_told(void) {
    const char *delay = getenv("WEIR_FSYNC_DELAY_US");
    if (delay) usleep((useconds_t)atoi(delay));
}

static int synced(const char *name, int file) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    wait_as_told();
    return sync(file);
}

int fsync(int file) { return synced("fsync", file); }
int fdatasync(int file) { return synced("fdatasync", file); }
