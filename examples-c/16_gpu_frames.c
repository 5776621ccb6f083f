/* 16_gpu_frames.c - a renderer and a model on one GPU: frames of 16.6 ms, with work in a stream of the renderer's own, while a session
 * generates in the backend's.
 *
 * Each frame gives the model two milliseconds: the backend then enqueues no more than it expects the device to do in that time, so that the
 * renderer's work is not long behind it. What is drawn here is nothing; the device clears some memory instead. In a library without
 * realm_cuda.h's functions, and on a machine without a GPU, it says so. Not yet run on hardware.
 */
#include "example.h"

#ifndef REALM_CUDA

int main(void) {
    puts("CUDA is not available: this was built without it (CMake's REALM_CUDA)");
    return 0;
}

#else

#include "realm_cuda.h"

#ifdef _WIN32
#include <windows.h>
static void *driver_function(const char *name) {
    static HMODULE driver = NULL;
    void *function = NULL;
    FARPROC found;
    if (driver == NULL) driver = LoadLibraryA("nvcuda.dll");
    found = driver == NULL ? NULL : GetProcAddress(driver, name);
    memcpy(&function, &found, sizeof function);
    return function;
}
#else
#include <dlfcn.h>
static void *driver_function(const char *name) {
    static void *driver = NULL;
    if (driver == NULL) driver = dlopen("libcuda.so.1", RTLD_NOW);
    return driver == NULL ? NULL : dlsym(driver, name);
}
#endif

#define FRAME_US 16667u
#define BUDGET_US 2000u
#define BUCKET_US 500u
#define BUCKETS 50u
#define DRAWN_BYTES ((size_t)256 << 20)

/* What a renderer has of CUDA's driver: declared here, so that the example needs nothing of NVIDIA's to be compiled. */
typedef int (*cu_context_retain)(void **context, int device);
typedef int (*cu_context_set)(void *context);
typedef int (*cu_stream_create)(void **stream, unsigned flags);
typedef int (*cu_alloc)(uint64_t *address, size_t bytes);
typedef int (*cu_clear)(uint64_t address, unsigned char value, size_t bytes, void *stream);
typedef int (*cu_wait)(void *stream);

typedef struct renderer {
    void *context, *stream;
    uint64_t target;
    cu_clear clear;
    cu_wait wait;
} renderer;

/* C has no cast from an object's address to a function's. */
#define FUNCTION(type, variable, name)                        \
    type variable;                                            \
    do {                                                      \
        void *found_ = driver_function(name);                 \
        expect(found_ != NULL, "the driver has " name);       \
        memcpy(&variable, &found_, sizeof variable);          \
    } while (0)

/* After the backend, which has initialised the driver. */
static void open_renderer(renderer *r) {
    FUNCTION(cu_context_retain, retain, "cuDevicePrimaryCtxRetain");
    FUNCTION(cu_context_set, set, "cuCtxSetCurrent");
    FUNCTION(cu_stream_create, create, "cuStreamCreate");
    FUNCTION(cu_alloc, alloc, "cuMemAlloc_v2");
    FUNCTION(cu_clear, clear, "cuMemsetD8Async");
    FUNCTION(cu_wait, wait, "cuStreamSynchronize");
    expect(retain(&r->context, 0) == 0 && set(r->context) == 0, "the device's context is there");
    expect(create(&r->stream, 1) == 0, "the renderer has a stream of its own");
    expect(alloc(&r->target, DRAWN_BYTES) == 0, "the renderer has something to draw on");
    r->clear = clear;
    r->wait = wait;
}

static uint64_t now_us(void) {
    const realm_platform *platform = realm_posix_platform();
    return platform->clock_ns(platform->ctx) / 1000;
}

/* The model's part of a frame. Returns whether it has more to say. */
static int think(realm_session *session, char *text, size_t room) {
    const uint64_t begun = now_us();
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    for (uint64_t spent; (spent = now_us() - begun) < BUDGET_US;) {
        must(realm_session_poll(session, realm_budget_left(BUDGET_US, spent), &event, &error), &error);
        append(text, room, &event);
        if (event.kind == REALM_EVENT_DONE) return 0;
    }
    return 1;
}

static void draw_histogram(const uint32_t *histogram, uint32_t frames, uint32_t late) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < BUCKETS; i++) most = histogram[i] > most ? histogram[i] : most;
    printf("%u frames, %u of them longer than %.1f ms\n", (unsigned)frames, (unsigned)late, FRAME_US / 1000.0);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        if (histogram[i] == 0) continue;
        printf("%5.1f ms %5u ", (double)(i * BUCKET_US) / 1000, (unsigned)histogram[i]);
        for (uint32_t n = 0; n < (histogram[i] * 50 + most - 1) / most; n++) putchar('#');
        printf("%s\n", i == BUCKETS - 1 ? " and above" : "");
    }
}

int main(int argc, char **argv) {
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_cuda_backend *cuda = NULL;
    realm_session *session = NULL;
    realm_runtime *runtime;
    realm_error error = {0, ""};
    renderer r = {NULL, NULL, 0, NULL, NULL};
    static char text[65536];
    uint32_t histogram[BUCKETS] = {0}, frames = 0, late = 0;
    const char *question = argc > 2 ? argv[2] : "What is the capital of France?";
    int more = 1;

    if (realm_cuda_backend_create(NULL, &cuda, &error) < 0) {
        puts(error.message);
        return 0;
    }
    runtime = make_runtime(realm_posix_platform());
    must(realm_runtime_add_backend(runtime, realm_cuda_backend_table(cuda), &error), &error);
    options.backend = "cuda";
    must(realm_session_open(runtime, load_model(argc > 1 ? argv[1] : DEMO_MODEL), &options, &session, &error), &error);
    must(realm_session_prompt(session, REALM_INPUT_CHAT, question, strlen(question), &error), &error);
    open_renderer(&r);

    while (more || frames < 120) {
        const uint64_t begun = now_us();
        uint64_t took, bucket;
        expect(r.clear(r.target, (unsigned char)frames, DRAWN_BYTES, r.stream) == 0, "the renderer draws");
        if (more) more = think(session, text, sizeof text);
        expect(r.wait(r.stream) == 0, "what was drawn is ready");
        took = now_us() - begun;
        bucket = took / BUCKET_US;
        histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
        late += took > FRAME_US;
        frames++;
        while (now_us() - begun < FRAME_US) continue; /* A game waits for the display here. */
    }
    printf("%s\n", text);
    draw_histogram(histogram, frames, late);
    realm_session_close(session);
    realm_runtime_destroy(runtime);
    realm_cuda_backend_destroy(cuda);
    expect(late * 100 <= frames, "one frame in a hundred is late, at most");
    return 0;
}

#endif
