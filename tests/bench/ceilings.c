/* ceilings.c - what the machine could do at most: reading memory, int8 and f32 multiply-adds.
 *
 *   ceilings THREADS [MILLISECONDS]
 *
 * Prints one JSON object: GB/s of sequential reading with huge and with 4 KiB pages, Gop/s of
 * vpdpbusd (two operations per product; 0 where there is no VNNI) and Gflop/s of f32 multiply-adds.
 * All threads start together; each figure is the work of all of them over the time of the slowest.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BYTES ((size_t)192 << 20) /* of each thread: far more than any cache */
#define THREADS_MAX 256

typedef enum work { READ_HUGE, READ_SMALL, VNNI, FMA, WORKS } work;

static unsigned thread_count = 1;
static double seconds = 0.1;
static pthread_barrier_t together;
static unsigned char *memory[2][THREADS_MAX];
static double done[THREADS_MAX], took[THREADS_MAX];
static volatile uint64_t sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double read_part(const unsigned char *p, size_t bytes) {
    uint64_t s[32] = {0}, w[32], all = 0;
    for (size_t i = 0; i < bytes; i += sizeof w) {
        memcpy(w, p + i, sizeof w);
        for (int j = 0; j < 32; j++) {
            s[j] += w[j];
        }
    }
    for (int j = 0; j < 32; j++) {
        all += s[j];
    }
    sink += all;
    return (double)bytes;
}

#if defined(__x86_64__)
/* The fastest way found: whole lines, and the processor's prefetchers helped on from page to page. */
__attribute__((target("avx512f"))) static double read_512(const unsigned char *p, size_t bytes) {
    __m512i s = _mm512_setzero_si512();
    for (size_t i = 0; i + 512 <= bytes; i += 512) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 512; j += 64) _mm_prefetch((const char *)p + i + j + 4096, _MM_HINT_T1);
#pragma GCC unroll 8
        for (size_t j = 0; j < 512; j += 64) s = _mm512_xor_si512(s, _mm512_loadu_si512(p + i + j));
    }
    sink += (uint64_t)_mm512_reduce_add_epi64(s);
    return (double)bytes;
}
__attribute__((target("avx512f,avx512vnni"))) static double vnni_512(void) {
    const __m512i x = _mm512_set1_epi8((char)(sink & 1));
    __m512i a[12];
    for (int j = 0; j < 12; j++) a[j] = x;
    for (int i = 0; i < 100000; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++) a[j] = _mm512_dpbusd_epi32(a[j], x, x);
    }
    for (int j = 1; j < 12; j++) a[0] = _mm512_add_epi32(a[0], a[j]);
    sink += (uint64_t)_mm512_reduce_add_epi32(a[0]);
    return 100000.0 * 12 * 64 * 2;
}
__attribute__((target("avx512f"))) static double fma_512(void) {
    const __m512 x = _mm512_set1_ps((float)(sink & 1));
    __m512 a[12];
    for (int j = 0; j < 12; j++) a[j] = x;
    for (int i = 0; i < 100000; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++) a[j] = _mm512_fmadd_ps(x, x, a[j]);
    }
    for (int j = 1; j < 12; j++) a[0] = _mm512_add_ps(a[0], a[j]);
    sink += (uint64_t)(_mm512_reduce_add_ps(a[0]) != 0);
    return 100000.0 * 12 * 16 * 2;
}
__attribute__((target("avx2,fma"))) static double fma_256(void) {
    const __m256 x = _mm256_set1_ps((float)(sink & 1));
    __m256 a[12];
    float out[8];
    for (int j = 0; j < 12; j++) a[j] = x;
    for (int i = 0; i < 100000; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++) a[j] = _mm256_fmadd_ps(x, x, a[j]);
    }
    for (int j = 1; j < 12; j++) a[0] = _mm256_add_ps(a[0], a[j]);
    _mm256_storeu_ps(out, a[0]);
    sink += (uint64_t)(out[0] != 0);
    return 100000.0 * 12 * 8 * 2;
}
#endif

static double read_memory(const unsigned char *p, size_t bytes) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return read_512(p, bytes);
    }
#endif
    return read_part(p, bytes);
}

static double once(work w, unsigned thread) {
    switch (w) {
    case READ_HUGE: return read_memory(memory[0][thread], BYTES);
    case READ_SMALL: return read_memory(memory[1][thread], BYTES);
#if defined(__x86_64__)
    case VNNI:
        return __builtin_cpu_supports("avx512vnni") ? vnni_512() : 0;
    case FMA:
        return __builtin_cpu_supports("avx512f")                                   ? fma_512()
               : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? fma_256()
                                                                                   : 0;
#endif
    default: return 0;
    }
}

static void *run(void *arg) {
    const unsigned me = (unsigned)(uintptr_t)arg;
    for (int page = 0; page < 2; page++) {
        void *p = NULL;
        if (posix_memalign(&p, (size_t)2 << 20, BYTES) != 0) {
            exit(1);
        }
        madvise(p, BYTES, page == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        memset(p, 1, BYTES);
        memory[page][me] = (unsigned char *)p;
    }
    for (work w = READ_HUGE; w < WORKS; w++) {
        pthread_barrier_wait(&together);
        const double start = now();
        double sum = 0, end;
        do {
            const double more = once(w, me);
            sum += more;
            end = now();
            if (more == 0) break;
        } while (end - start < seconds);
        done[me] = sum;
        took[me] = end - start;
        pthread_barrier_wait(&together);
        if (me == 0) {
            static const char *const names[] = {"read_huge", "read_4k", "vnni", "fma"};
            double all = 0, slowest = 0;
            for (unsigned i = 0; i < thread_count; i++) {
                all += done[i];
                slowest = took[i] > slowest ? took[i] : slowest;
            }
            printf("%s\"%s\": %.2f", w == READ_HUGE ? "{" : ", ", names[w], all > 0 ? all / slowest / 1e9 : 0.0);
        }
        pthread_barrier_wait(&together);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS_MAX];
    thread_count = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    seconds = argc > 2 ? atoi(argv[2]) / 1000.0 : seconds;
    if (thread_count < 1 || thread_count > THREADS_MAX) {
        fprintf(stderr, "ceilings THREADS [MILLISECONDS]\n");
        return 2;
    }
    pthread_barrier_init(&together, NULL, thread_count);
    for (unsigned i = 1; i < thread_count; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) != 0) {
            return 1;
        }
    }
    run((void *)0);
    for (unsigned i = 1; i < thread_count; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("}\n");
    return 0;
}
