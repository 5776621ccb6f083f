/* launch.c - runs a program and measures it.
 *
 *   launch RESULT PROGRAM ARGUMENT...
 *
 * Writes {"seconds": wall clock, "peak_rss": bytes, "status": exit code} to the file RESULT. It exists because
 * the peak that a system reports of a process includes what its parent was when it was forked, and this
 * parent is small.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    struct rusage usage;
    int status = 0;
    if (argc < 3) {
        fprintf(stderr, "launch RESULT PROGRAM ARGUMENT...\n");
        return 2;
    }
    const double start = now();
    const pid_t child = fork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        return 1;
    }
    const double seconds = now() - start;
    FILE *out = fopen(argv[1], "w");
    if (out == NULL) {
        return 1;
    }
#ifdef __APPLE__
    const double unit = 1;
#else
    const double unit = 1024;
#endif
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(out, "{\"seconds\": %.6f, \"peak_rss\": %.0f, \"status\": %d}\n", seconds,
            (double)usage.ru_maxrss * unit, status);
    return fclose(out) == 0 ? status : 1;
}
