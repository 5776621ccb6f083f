/* windows.h - the part of POSIX that posix.c uses, made of Win32 (Windows 7 and newer). Included by posix.c alone. */
#ifndef REALM_POSIX_WINDOWS_H
#define REALM_POSIX_WINDOWS_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif
#include <windows.h>

#include <errno.h>
#include <malloc.h>
#include <process.h>

/* ---- memory, clock ------------------------------------------------------------------------ */

static int posix_memalign(void **out, size_t align, size_t bytes) {
    *out = _aligned_malloc(bytes, align);
    return *out != NULL ? 0 : ENOMEM;
}

static uint64_t monotonic_ns(void) {
    LARGE_INTEGER now, each_second;
    (void)QueryPerformanceFrequency(&each_second);
    (void)QueryPerformanceCounter(&now);
    const uint64_t t = (uint64_t)now.QuadPart, f = (uint64_t)each_second.QuadPart;
    return t / f * 1000000000u + t % f * 1000000000u / f;
}

static long processors_online(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return (long)info.dwNumberOfProcessors;
}

/* ---- threads ------------------------------------------------------------------------------ */

typedef SRWLOCK pthread_mutex_t;
typedef CONDITION_VARIABLE pthread_cond_t;

static void pthread_mutex_init(pthread_mutex_t *mutex, const void *none) { (void)none, InitializeSRWLock(mutex); }
static void pthread_mutex_lock(pthread_mutex_t *mutex) { AcquireSRWLockExclusive(mutex); }
static void pthread_mutex_unlock(pthread_mutex_t *mutex) { ReleaseSRWLockExclusive(mutex); }
static void pthread_mutex_destroy(pthread_mutex_t *mutex) { (void)mutex; }
static void pthread_cond_init(pthread_cond_t *cond, const void *none) { (void)none, InitializeConditionVariable(cond); }
static void pthread_cond_signal(pthread_cond_t *cond) { WakeConditionVariable(cond); }
static void pthread_cond_broadcast(pthread_cond_t *cond) { WakeAllConditionVariable(cond); }
static void pthread_cond_destroy(pthread_cond_t *cond) { (void)cond; }
static void pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) {
    (void)SleepConditionVariableSRW(cond, mutex, INFINITE, 0);
}

typedef HANDLE pthread_t;

/* The thread's function is the pool's worker, the only one there is. */
static void *worker(void *arg);
static unsigned __stdcall worker_entry(void *arg) { return (void)worker(arg), 0; }

static int start_worker(pthread_t *out, size_t stack_bytes, void *arg) {
    *out = (HANDLE)_beginthreadex(NULL, (unsigned)stack_bytes, worker_entry, arg, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return *out != NULL ? 0 : errno;
}

static void pthread_join(pthread_t thread, void **result) {
    (void)result;
    (void)WaitForSingleObject(thread, INFINITE);
    (void)CloseHandle(thread);
}

/* ---- files -------------------------------------------------------------------------------- */

static realm_status fail_file(realm_error *error, realm_status status, const char *verb, const char *path,
                              const char *reason);

/* What a call that failed says: its number and, for the usual ones, words. */
static realm_status fail_as_windows(realm_error *error, const char *what, const char *path) {
    const DWORD e = GetLastError();
    const int missing = e == ERROR_FILE_NOT_FOUND || e == ERROR_PATH_NOT_FOUND || e == ERROR_INVALID_NAME;
    char reason[96];
    (void)snprintf(reason, sizeof reason, "%s (Windows error %lu)",
                   missing                        ? "there is no such file"
                   : e == ERROR_ACCESS_DENIED     ? "access is denied, or it is a directory"
                   : e == ERROR_SHARING_VIOLATION ? "another process has it open"
                                                  : "it failed",
                   (unsigned long)e);
    return fail_file(error,
                     missing                                                        ? REALM_STATUS_NOT_FOUND
                     : e == ERROR_NOT_ENOUGH_MEMORY || e == ERROR_COMMITMENT_LIMIT ? REALM_STATUS_NO_MEMORY
                                                                                   : REALM_STATUS_IO,
                     what, path, reason);
}

static realm_status map_handle(HANDLE file, const char *path, realm_posix_map *out, realm_error *error) {
    LARGE_INTEGER bytes;
    if (GetFileType(file) != FILE_TYPE_DISK) {
        return fail_file(error, REALM_STATUS_IO, "map", path, "it is not a regular file");
    }
    if (!GetFileSizeEx(file, &bytes)) {
        return fail_as_windows(error, "read", path);
    }
    if (bytes.QuadPart <= 0) {
        return fail_file(error, REALM_STATUS_IO, "map", path, "it is empty");
    }
    if ((uint64_t)bytes.QuadPart > (uint64_t)SIZE_MAX / 2) {
        return fail_file(error, REALM_STATUS_NO_MEMORY, "map", path, "it is too large");
    }
    HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    if (mapping == NULL) {
        return fail_as_windows(error, "map", path);
    }
    void *data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    const realm_status status = data != NULL ? REALM_STATUS_OK : fail_as_windows(error, "map", path);
    (void)CloseHandle(mapping); /* the view keeps it */
    if (data != NULL) {
        out->data = data;
        out->bytes = (size_t)bytes.QuadPart;
    }
    return status;
}

/* Paths are UTF-8, as everywhere in this library. */
static realm_status map_path(const char *path, realm_posix_map *out, realm_error *error) {
    wchar_t wide[4096]; /* with the terminator */
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, (int)(sizeof wide / sizeof wide[0])) == 0) {
        return fail_file(error, REALM_STATUS_NOT_FOUND, "open", path, "not UTF-8, or longer than any path");
    }
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        return fail_as_windows(error, "open", path);
    }
    const realm_status status = map_handle(file, path, out, error);
    (void)CloseHandle(file);
    return status;
}

static void unmap(void *data, size_t bytes) {
    (void)bytes;
    (void)UnmapViewOfFile(data);
}

#endif /* REALM_POSIX_WINDOWS_H */
