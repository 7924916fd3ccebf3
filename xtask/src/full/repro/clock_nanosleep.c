/* libfaketime 0.9.10 answers EINVAL to a wait until a point of the monotonic clock if that clock is not to be moved, and
 * Python 3.11 waits like this. This library, loaded before it, takes such a call to the kernel, whose clock it means. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wait, struct timespec *rest)
{
    return syscall(SYS_clock_nanosleep, clock, flags, wait, rest) == 0 ? 0 : errno;
}
