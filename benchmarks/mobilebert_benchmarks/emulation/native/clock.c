/* A clock that counts instructions, for the guest that is profiled: preloaded, it stands before the C library's. One
 * instruction is a microsecond, so that the runtime's profiler, which thinks that it measures time, counts what each
 * operator takes. The plugin writes its count into the file when the system call asks for it. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int file = -1;
    uint64_t count;
    (void)clock;
    if (file < 0) file = open("clock", O_RDONLY);
    syscall(SYS_getpriority, 0x4d424d4bL, 3L);
    if (pread(file, &count, sizeof count, 0) != sizeof count) abort();
    now->tv_sec = (time_t)(count / 1000000);
    now->tv_nsec = (long)(count % 1000000 * 1000);
    return 0;
}
