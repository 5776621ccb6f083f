/* realm_freertos.c - see realm_freertos.h. Needs configSUPPORT_DYNAMIC_ALLOCATION, and INCLUDE_vTaskDelete for the task. */
#include "realm_freertos.h"

#include <stdint.h>
#include <string.h>

#include "FreeRTOS.h"
#include "task.h"

/* ---- memory --------------------------------------------------------------------------------- */

/* The kernel aligns to portBYTE_ALIGNMENT. For more, the address that it gave is kept before the one that is handed out. */
static void *allocate(size_t bytes, size_t align) {
    unsigned char *raw, *memory;
    if (align <= portBYTE_ALIGNMENT) return pvPortMalloc(bytes);
    if (bytes > SIZE_MAX - align - sizeof raw) return NULL;
    raw = pvPortMalloc(bytes + align + sizeof raw);
    if (raw == NULL) return NULL;
    memory = raw + sizeof raw;
    memory += align - (uintptr_t)memory % align;
    memcpy(memory - sizeof raw, &raw, sizeof raw);
    return memory;
}

static void release(void *memory, size_t align) {
    unsigned char *raw = memory;
    if (align > portBYTE_ALIGNMENT) memcpy(&raw, (unsigned char *)memory - sizeof raw, sizeof raw);
    vPortFree(raw);
}

static void *platform_alloc(void *ctx, size_t bytes, size_t align) {
    (void)ctx;
    return allocate(bytes, align);
}

static void platform_free(void *ctx, void *memory, size_t bytes, size_t align) {
    (void)ctx, (void)bytes;
    release(memory, align);
}

/* What librealm.a asks for by name. */
void *realm_firmware_alloc(size_t bytes, size_t align);
void realm_firmware_free(void *memory, size_t bytes, size_t align);
void realm_firmware_panic(const char *text, size_t bytes);

void *realm_firmware_alloc(size_t bytes, size_t align) { return allocate(bytes, align); }

void realm_firmware_free(void *memory, size_t bytes, size_t align) {
    (void)bytes;
    release(memory, align);
}

/* A bug in the library. configASSERT stops the machine, or the debugger, as the application has decided. */
void realm_firmware_panic(const char *text, size_t bytes) {
    (void)text, (void)bytes;
    configASSERT(text == NULL);
    taskDISABLE_INTERRUPTS();
    for (;;) {}
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Ticks overflow, after 49 days at 1 kHz; the kernel counts how often. */
static uint64_t clock_ns(void *ctx) {
    TimeOut_t now;
    uint64_t ticks;
    (void)ctx;
    vTaskSetTimeOutState(&now);
    ticks = (uint64_t)now.xOverflowCount * ((uint64_t)portMAX_DELAY + 1) + now.xTimeOnEntering;
    return ticks * (UINT64_C(1000000000) / configTICK_RATE_HZ);
}

/* ---- the platform --------------------------------------------------------------------------- */

void realm_freertos_platform(realm_platform *out) {
    const realm_platform initial = REALM_PLATFORM_INIT;
    *out = initial;
    out->alloc = platform_alloc;
    out->free = platform_free;
    out->clock_ns = clock_ns;
}

void realm_freertos_task(void *job_) {
    const realm_freertos_job *job = job_;
    for (;;) {
        realm_event event = REALM_EVENT_INIT;
        realm_error error = {0, ""};
        const realm_status status = realm_session_poll(job->session, job->budget_us, &event, &error);
        if ((status < 0 || event.kind != REALM_EVENT_AGAIN) && !job->on_event(job->ctx, status, &event, &error)) break;
        taskYIELD();
    }
    vTaskDelete(NULL);
}
