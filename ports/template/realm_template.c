/* realm_template.c - see realm_template.h. */
#include "realm_template.h"

#include <stdint.h>
#include <string.h>

/* ---- the system: the part to replace. Here it is the C library, so that the port runs before it is changed. ---- */

#include <stdlib.h>
#include <time.h>

#define SYSTEM_ALIGNMENT 8 /* of all memory that it gives */

static void *system_alloc(size_t bytes) { return malloc(bytes); }
static void system_free(void *memory) { free(memory); }

/* Must never go backwards, overflow included. Finer than the budgets of polls. */
static uint64_t system_now_ns(void) { return (uint64_t)clock() * (UINT64_C(1000000000) / CLOCKS_PER_SEC); }

/* A bug in the library was met, or a fault of memory. Must not return. */
static void system_halt(void) { abort(); }

/* ---- the rest need not change ---- */

/* For more alignment than the system has, the address that it gave is kept before the one that is handed out. */
static void *allocate(size_t bytes, size_t align) {
    unsigned char *raw, *memory;
    if (align <= SYSTEM_ALIGNMENT) return system_alloc(bytes);
    if (bytes > SIZE_MAX - align - sizeof raw) return NULL;
    raw = system_alloc(bytes + align + sizeof raw);
    if (raw == NULL) return NULL;
    memory = raw + sizeof raw;
    memory += align - (uintptr_t)memory % align;
    memcpy(memory - sizeof raw, &raw, sizeof raw);
    return memory;
}

static void release(void *memory, size_t align) {
    unsigned char *raw = memory;
    if (align > SYSTEM_ALIGNMENT) memcpy(&raw, (unsigned char *)memory - sizeof raw, sizeof raw);
    system_free(raw);
}

static void *platform_alloc(void *ctx, size_t bytes, size_t align) {
    (void)ctx;
    return allocate(bytes, align);
}

static void platform_free(void *ctx, void *memory, size_t bytes, size_t align) {
    (void)ctx, (void)bytes;
    release(memory, align);
}

static uint64_t platform_clock_ns(void *ctx) {
    (void)ctx;
    return system_now_ns();
}

void realm_template_platform(realm_platform *out) {
    const realm_platform initial = REALM_PLATFORM_INIT;
    *out = initial;
    out->alloc = platform_alloc;
    out->free = platform_free;
    out->clock_ns = platform_clock_ns;
}

/* What librealm.a for firmware asks for by name; a hosted library does not. */
void *realm_firmware_alloc(size_t bytes, size_t align);
void realm_firmware_free(void *memory, size_t bytes, size_t align);
void realm_firmware_panic(const char *text, size_t bytes);

void *realm_firmware_alloc(size_t bytes, size_t align) { return allocate(bytes, align); }

void realm_firmware_free(void *memory, size_t bytes, size_t align) {
    (void)bytes;
    release(memory, align);
}

void realm_firmware_panic(const char *text, size_t bytes) {
    (void)text, (void)bytes;
    system_halt();
}

int realm_template_poll(const realm_template_job *job) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    const realm_status status = realm_session_poll(job->session, job->budget_us, &event, &error);
    if (status >= 0 && event.kind == REALM_EVENT_AGAIN) return 1;
    return job->on_event(job->ctx, status, &event, &error);
}
