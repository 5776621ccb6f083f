/* main.c - a model in one task of FreeRTOS and a heartbeat in another, which must not miss a beat while the model thinks. */
#include <string.h>

#include "FreeRTOS.h"
#include "task.h"

#include "machine.h"
#include "realm_freertos.h"

#define BEAT_TICKS 10

static volatile unsigned beats, late;
static int tokens;
static realm_runtime *runtime;
static realm_freertos_job job;

static void put(const char *text) { machine_put(text, strlen(text)); }

static void put_count(const char *what, unsigned long n) {
    char digits[12];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    put(what);
    machine_put(digits + at, sizeof digits - at);
    put("\n");
}

void failed_assertion(const char *file, int line) {
    put(file);
    put_count(":", (unsigned long)line);
    machine_exit(3);
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name);
void vApplicationStackOverflowHook(TaskHandle_t task, char *name) {
    (void)task;
    put(name);
    put(": its stack overflowed\n");
    machine_exit(3);
}

/* Of higher priority than the model: it is the kernel that gives it its time. */
static void heartbeat(void *unused) {
    TimeOut_t before, now;
    (void)unused;
    vTaskSetTimeOutState(&before);
    for (;;) {
        vTaskDelay(BEAT_TICKS);
        vTaskSetTimeOutState(&now);
        if (now.xTimeOnEntering - before.xTimeOnEntering > BEAT_TICKS + 1) late++;
        before = now;
        beats++;
    }
}

static int on_event(void *ctx, realm_status status, const realm_event *event, const realm_error *error) {
    (void)ctx;
    if (status < 0) {
        put(error->message);
        machine_exit(1);
    }
    machine_put(event->text, event->text_bytes);
    if (event->kind == REALM_EVENT_TOKEN) tokens++;
    if (event->kind != REALM_EVENT_DONE) return 1;
    put("\n");
    put_count("tokens:       ", (unsigned long)tokens);
    put_count("beats:        ", beats);
    put_count("late:         ", late);
    put_count("stack left:   ", uxTaskGetStackHighWaterMark(NULL) * sizeof(StackType_t));
    put_count("heap left:    ", (unsigned long)xPortGetMinimumEverFreeHeapSize());
    realm_session_close(job.session);
    realm_runtime_destroy(runtime);
    if (realm_model_remove(NULL, 1, NULL) < 0) machine_exit(1);
    machine_exit(tokens > 0 && beats > 0 && late == 0 ? 0 : 1);
    return 0;
}

static void check(realm_status status, const realm_error *error) {
    if (status >= 0) return;
    put(error->message);
    put("\n");
    machine_exit(1);
}

int firmware_main(const void *model, size_t model_bytes, const char *isa) {
    static const realm_param params[] = {{"n_predict", "64"}, {"ctx", "256"}, {"n_batch", "8"}, {"ignore_eos", "1"}};
    static const char prompt[] = "Once upon a time";
    realm_platform platform;
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_session_options settings = REALM_SESSION_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_error error = {0, ""};
    realm_bytes part;
    (void)isa;
    part.data = model;
    part.bytes = model_bytes;
    source.parts = &part;
    source.part_count = 1;
    source.id = 1;
    check(realm_model_register(NULL, &source, NULL, &error), &error);
    realm_freertos_platform(&platform);
    options.platform = &platform;
    check(realm_runtime_create(&options, &runtime, &error), &error);
    settings.params = params;
    settings.param_count = sizeof params / sizeof params[0];
    check(realm_session_open(runtime, 1, &settings, &job.session, &error), &error);
    check(realm_session_prompt(job.session, REALM_INPUT_TEXT, prompt, sizeof prompt - 1, &error), &error);
    put(prompt);
    job.budget_us = 1000;
    job.on_event = on_event;
    if (xTaskCreate(heartbeat, "beat", configMINIMAL_STACK_SIZE, NULL, tskIDLE_PRIORITY + 2, NULL) != pdPASS ||
        xTaskCreate(realm_freertos_task, "model", REALM_FREERTOS_STACK_WORDS, &job, tskIDLE_PRIORITY + 1, NULL) != pdPASS)
        return 1;
    vTaskStartScheduler();
    return 1; /* there was no memory for the idle task */
}
