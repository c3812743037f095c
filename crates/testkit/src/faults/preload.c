/* Counts the calls by which a program changes files below some folders, and lets one of them go wrong.
 *
 * Preloaded (LD_PRELOAD) into the program under test, which knows nothing of it. Settings from the environment:
 *
 *   DSB_FAULT_BELOW  folders, separated by colons; calls on anything else pass unseen
 *   DSB_FAULT_LOG    file for one line a call: number, kind, path, separated by tabs
 *   DSB_FAULT_AT     number of the call that goes wrong, from 1; 0 for none
 *   DSB_FAULT_HOW    "before" or "after": SIGKILL before or after the call; a number: the call fails with this errno
 *   DSB_FAULT_ON     if set, every later call below the same one of the folders fails in the same way too
 *
 * Calls are counted and made under one lock, so that nothing happens between a call and the death after it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Instead of a name: the call is about an open descriptor. */
#define NO_NAME NULL
/* A path, with room to tell one that is too long. */
#define PATH_BYTES (2 * PATH_MAX)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long (*kernel)(long, ...);
static const char *below, *broken;
static long wanted, count;
static int failure, kill_before, kill_after, and_on, log_fd = -1;

__attribute__((constructor)) static void settle(void)
{
    const char *how = getenv("DSB_FAULT_HOW"), *at = getenv("DSB_FAULT_AT"), *log = getenv("DSB_FAULT_LOG");
    *(void **)&kernel = dlsym(RTLD_NEXT, "syscall");
    if (how && strcmp(how, "before") == 0)
        kill_before = 1;
    else if (how && strcmp(how, "after") == 0)
        kill_after = 1;
    else
        failure = how ? atoi(how) : 0;
    and_on = getenv("DSB_FAULT_ON") != NULL;
    wanted = at ? atol(at) : 0;
    if (log)
        log_fd = (int)kernel(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    /* Last: before it is set no call is counted, those of other constructors neither. */
    below = getenv("DSB_FAULT_BELOW");
}

/* Writes the path of what a call is about to `path`; an empty one if it cannot be told. */
static void path_of(int fd, const char *name, char *path)
{
    char link[64];
    ssize_t length = 0;
    path[0] = 0;
    if (name && name[0] == '/') {
        snprintf(path, PATH_BYTES, "%s", name);
        return;
    }
    if (fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX);
    path[length > 0 ? length : 0] = 0;
    if (name && length > 0)
        snprintf(path + length, PATH_BYTES - (size_t)length, "/%s", name);
}

/* The folder of DSB_FAULT_BELOW that holds a path; NULL for all others. */
static const char *folder_of(const char *path)
{
    const char *folder = below;
    while (folder && *folder) {
        size_t length = strcspn(folder, ":");
        if (strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0))
            return folder;
        folder += length + (folder[length] == ':');
    }
    return NULL;
}

static void die(void)
{
    for (;;)
        kernel(SYS_kill, getpid(), SIGKILL);
}

/* Makes a call of the kernel that changes something, unless it is its turn to go wrong. */
static long change(const char *kind, int fd, const char *name, long number, long a, long b, long c, long d, long e, long f)
{
    char path[PATH_BYTES], line[PATH_BYTES + 64];
    const char *folder;
    long result;
    int turn, error;
    if (!below)
        return kernel(number, a, b, c, d, e, f);
    path_of(fd, name, path);
    folder = folder_of(path);
    if (!folder)
        return kernel(number, a, b, c, d, e, f);
    pthread_mutex_lock(&lock);
    count++;
    turn = count == wanted || (and_on && folder == broken);
    if (count == wanted)
        broken = folder;
    if (log_fd >= 0) {
        int length = snprintf(line, sizeof line, "%ld\t%s\t%s\n", count, kind, path);
        kernel(SYS_write, log_fd, line, (size_t)length);
    }
    if (turn && kill_before)
        die();
    if (turn && failure) {
        pthread_mutex_unlock(&lock);
        errno = failure;
        return -1;
    }
    result = kernel(number, a, b, c, d, e, f);
    error = errno;
    if (turn && kill_after)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

#define ARG(x) ((long)(x))
#define CHANGE3(kind, fd, name, number, a, b, c) change(kind, fd, name, number, ARG(a), ARG(b), ARG(c), 0, 0, 0)

/* Writing */

ssize_t write(int fd, const void *from, size_t size)
{
    return CHANGE3("write", fd, NO_NAME, SYS_write, fd, from, size);
}

ssize_t writev(int fd, const struct iovec *from, int parts)
{
    return CHANGE3("write", fd, NO_NAME, SYS_writev, fd, from, parts);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    return change("write", fd, NO_NAME, SYS_pwrite64, fd, ARG(from), ARG(size), at, 0, 0);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return pwrite64(fd, from, size, at);
}

ssize_t pwritev64(int fd, const struct iovec *from, int parts, off64_t at)
{
    return change("write", fd, NO_NAME, SYS_pwritev, fd, ARG(from), parts, at, 0, 0);
}

ssize_t pwritev(int fd, const struct iovec *from, int parts, off_t at)
{
    return pwritev64(fd, from, parts, at);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    return change("write", out, NO_NAME, SYS_copy_file_range, in, ARG(in_at), out, ARG(out_at), ARG(size), flags);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t size)
{
    return change("write", out, NO_NAME, SYS_sendfile, out, in, ARG(at), ARG(size), 0, 0);
}

ssize_t sendfile(int out, int in, off_t *at, size_t size)
{
    return sendfile64(out, in, at, size);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    return change("write", out, NO_NAME, SYS_splice, in, ARG(in_at), out, ARG(out_at), ARG(size), flags);
}

/* Sizes */

int ftruncate64(int fd, off64_t size)
{
    return (int)CHANGE3("truncate", fd, NO_NAME, SYS_ftruncate, fd, size, 0);
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    return (int)change("truncate", fd, NO_NAME, SYS_fallocate, fd, mode, at, size, 0, 0);
}

int fallocate(int fd, int mode, off_t at, off_t size)
{
    return fallocate64(fd, mode, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    return fallocate64(fd, 0, at, size) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t at, off_t size)
{
    return posix_fallocate64(fd, at, size);
}

/* Syncs */

int fsync(int fd)
{
    return (int)CHANGE3("sync", fd, NO_NAME, SYS_fsync, fd, 0, 0);
}

int fdatasync(int fd)
{
    return (int)CHANGE3("sync", fd, NO_NAME, SYS_fdatasync, fd, 0, 0);
}

int syncfs(int fd)
{
    return (int)CHANGE3("sync", fd, NO_NAME, SYS_syncfs, fd, 0, 0);
}

int sync_file_range(int fd, off64_t at, off64_t size, unsigned flags)
{
    return (int)change("sync", fd, NO_NAME, SYS_sync_file_range, fd, at, size, flags, 0, 0);
}

/* Names. Opening counts where it may make a file. */

static int open_in(int folder, const char *name, int flags, mode_t mode)
{
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        return (int)change("create", folder, name, SYS_openat, folder, ARG(name), flags, mode, 0, 0);
    return (int)kernel(SYS_openat, folder, name, flags, mode);
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(more, mode_t) : 0;
}

#define OPEN(name)                                    \
    int name(const char *path, int flags, ...)        \
    {                                                 \
        va_list more;                                 \
        mode_t mode;                                  \
        va_start(more, flags);                        \
        mode = mode_of(flags, more);                  \
        va_end(more);                                 \
        return open_in(AT_FDCWD, path, flags, mode);  \
    }

#define OPENAT(name)                                          \
    int name(int folder, const char *path, int flags, ...)    \
    {                                                         \
        va_list more;                                         \
        mode_t mode;                                          \
        va_start(more, flags);                                \
        mode = mode_of(flags, more);                          \
        va_end(more);                                         \
        return open_in(folder, path, flags, mode);            \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode)
{
    return open_in(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return creat(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    return (int)CHANGE3("mkdir", folder, path, SYS_mkdirat, folder, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return (int)change("rename", to, new, SYS_renameat2, from, ARG(old), to, ARG(new), flags, 0);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return renameat2(from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return (int)change("link", to, new, SYS_linkat, from, ARG(old), to, ARG(new), flags, 0);
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int symlinkat(const char *target, int folder, const char *path)
{
    return (int)CHANGE3("link", folder, path, SYS_symlinkat, target, folder, path);
}

int symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

int unlinkat(int folder, const char *path, int flags)
{
    return (int)CHANGE3("unlink", folder, path, SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

/* Modes */

int fchmod(int fd, mode_t mode)
{
    return (int)CHANGE3("mode", fd, NO_NAME, SYS_fchmod, fd, mode, 0);
}

int chmod(const char *path, mode_t mode)
{
    return (int)CHANGE3("mode", AT_FDCWD, path, SYS_fchmodat, AT_FDCWD, path, mode);
}

/* What libraries call by number, because an older libc has no function for it. */

long syscall(long number, ...)
{
    va_list more;
    long a, b, c, d, e, f;
    va_start(more, number);
    a = va_arg(more, long), b = va_arg(more, long), c = va_arg(more, long);
    d = va_arg(more, long), e = va_arg(more, long), f = va_arg(more, long);
    va_end(more);
    switch (number) {
    case SYS_syncfs:
        return syncfs((int)a);
    case SYS_renameat2:
        return renameat2((int)a, (const char *)b, (int)c, (const char *)d, (unsigned)e);
    case SYS_copy_file_range:
        return copy_file_range((int)a, (off64_t *)b, (int)c, (off64_t *)d, (size_t)e, (unsigned)f);
    default:
        if (!kernel)
            *(void **)&kernel = dlsym(RTLD_NEXT, "syscall");
        return kernel(number, a, b, c, d, e, f);
    }
}
