/* realm_freertos.h - Realm in a task of FreeRTOS: memory from the kernel's heap, time from its tick, and a task that polls.
 *
 *     realm_platform platform;
 *     realm_freertos_platform(&platform);
 *     runtime_options.platform = &platform;
 *     ...
 *     realm_freertos_job job = {session, 5000, on_event, NULL};
 *     xTaskCreate(realm_freertos_task, "model", REALM_FREERTOS_STACK_WORDS, &job, tskIDLE_PRIORITY + 1, NULL);
 *
 * Which heap it is (heap_4, heap_5, or one of yours) is the kernel's configuration; it has to be one that frees. The kernel's own
 * rules hold: from interrupts nothing of Realm is called but realm_session_cancel, and one session is used by one task at a time.
 */
#ifndef REALM_FREERTOS_H
#define REALM_FREERTOS_H

#include "realm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stack of a task that calls the library, in words: 28 KiB, a quarter more than was measured. */
#define REALM_FREERTOS_STACK_WORDS 7168

/* Fills in a platform: memory and clock of the kernel. The clock has the resolution of a tick, and so have budgets. */
void realm_freertos_platform(realm_platform *out);

/* What a task works on. It must live until the task is gone. */
typedef struct realm_freertos_job {
    realm_session *session; /* with a prompt */
    uint64_t budget_us;     /* of one poll, after which tasks of the same priority have their turn; at least a tick */
    /* Called in the task for every event, which is gone when it returns; `status` below 0: the poll failed, with `error`. Returns 0 to
     * end the task (it deletes itself), else it goes on. After REALM_EVENT_DONE it may give the session another prompt. */
    int (*on_event)(void *ctx, realm_status status, const realm_event *event, const realm_error *error);
    void *ctx;
} realm_freertos_job;

/* A task's function: polls the job's session until `on_event` returns 0. */
void realm_freertos_task(void *job);

#ifdef __cplusplus
}
#endif

#endif /* REALM_FREERTOS_H */
