/* realm_template.h - Realm on a system of yours: a port to copy. Replace `template` by the system's name, and the part of
 * realm_template.c that is marked; ports/freertos came of it that way.
 */
#ifndef REALM_TEMPLATE_H
#define REALM_TEMPLATE_H

#include "realm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills in a platform: memory and clock of the system. */
void realm_template_platform(realm_platform *out);

/* What a task, thread or super-loop works on. */
typedef struct realm_template_job {
    realm_session *session; /* with a prompt */
    uint64_t budget_us;     /* of one poll, after which the system does something else; 0: until the next event */
    /* Called for every event, which is gone when it returns; `status` below 0: the poll failed, with `error`. Returns 0 to end. */
    int (*on_event)(void *ctx, realm_status status, const realm_event *event, const realm_error *error);
    void *ctx;
} realm_template_job;

/* Polls once. Returns 0 when `on_event` did. */
int realm_template_poll(const realm_template_job *job);

#ifdef __cplusplus
}
#endif

#endif /* REALM_TEMPLATE_H */
