/* A guest that does what its input says: the fuzzer's hand on the imports.
 *
 * The input (ids, taken as bytes) is copied to an arena. It is a list of calls, each one byte for the
 * import and two bytes for each argument: below 0xf000 the number itself, above it one of the numbers
 * that checks tend to forget. Pointers are numbers too, counted from the arena's start in one call of
 * two, so that some calls get the script's own bytes as a program, a key or a model.
 */
#include "realm_guest.h"

#define ARENA_BYTES 65536u
#define CALLS_MAX 256u

static uint8_t arena[ARENA_BYTES];
static uint32_t size, at, relative;

int32_t realm_guest_abi(void)
{
    return REALM_GUEST_ABI;
}

static uint32_t byte(void)
{
    return at < size ? arena[at++] : 0;
}

static uint32_t number(void)
{
    static const uint32_t edges[] = {0xffffffffu, 0x80000000u, 0x7fffffffu, 0xfffffffcu,
                                     65536,       65535,       0x10000000u, 0x40000000u};
    const uint32_t low = byte(), value = low | byte() << 8;
    return value < 0xf000u ? value : edges[value & 7u];
}

/* A pointer, in the arena or anywhere. */
static void *place(void)
{
    const uint32_t value = number();
    return (void *)(relative ? (uintptr_t)arena + value : (uintptr_t)value);
}

static void call(uint32_t which)
{
    /* Evaluated in this order, whatever a compiler does with arguments. */
    const uint32_t a = number(), b = number();
    void *p = place(), *q = place();
    const uint32_t c = number(), d = number();
    switch (which % 32u) {
    case 0: realm_store_model(p, c, a, q); break;
    case 1: realm_remove_model(a); break;
    case 2: realm_get_model_info(a, p, c); break;
    case 3: realm_get_tensor(a, p, c, b, d, q, d); break;
    case 4: realm_meta_get(a, p, c, (int32_t)b, d, q, c); break;
    case 5: realm_tensor_find(a, p, c); break;
    case 6: realm_tensor_describe(a, b, p, c); break;
    case 7: realm_vocab_info(a, p, c); break;
    case 8: realm_tokenize(a, p, c, b, q, d); break;
    case 9: realm_token_find(a, p, c); break;
    case 10: realm_token_is_eog(a, b); break;
    case 11: realm_detok_reset(); break;
    case 12: realm_detok_push(a, p, c); break;
    case 13: realm_detok_flush(p, c); break;
    case 14: realm_param_get(p, c, q, d); break;
    case 15: realm_param_key(a, p, c); break;
    case 16: realm_input_read(a, p, c); break;
    case 17: (void)(b & 1u ? realm_emit_token(a) : realm_emit((int32_t)a, p, c)); break;
    case 18: realm_publish(a, b); break;
    case 19: realm_progress(a, b); break;
    case 20: realm_log(a, p, c); break;
    case 21: realm_fail(p, c); break;
    case 22: (void)realm_clock_ns(); break;
    case 23: realm_buffer_create(a, b, c); break;
    case 24: realm_buffer_write(a, b, p, c); break;
    case 25: realm_buffer_read(a, b, p, c); break;
    case 26: realm_kv_create(p, c); break;
    case 27: (void)realm_kv_bytes(a); break;
    case 28: realm_kv_truncate(a); break;
    case 29: realm_program_create(p, c); break;
    case 30: realm_program_destroy(a); break;
    default: realm_step_submit(a, p, c, b); break;
    }
}

static int32_t run(void)
{
    uint32_t calls = 0;
    while (at < size && calls < CALLS_MAX) {
        const uint32_t which = byte();
        relative = which & 0x80u;
        /* The end of an event: the host runs what was submitted and comes back. */
        if (which == 0x7fu)
            return REALM_GUEST_CONTINUE;
        call(which & 0x7fu);
        calls++;
    }
    return REALM_GUEST_END_EOS;
}

int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b)
{
    (void)a;
    switch (kind) {
    case REALM_GUEST_EVENT_OPEN:
        return REALM_GUEST_CONTINUE;
    case REALM_GUEST_EVENT_PROMPT:
        size = (uint32_t)b < ARENA_BYTES ? (uint32_t)b : ARENA_BYTES;
        at = 0;
        if (realm_input_read(0, arena, size) < 0)
            return REALM_GUEST_STATE;
        return run();
    case REALM_GUEST_EVENT_STEP:
        return run();
    default:
        return REALM_GUEST_CONTINUE;
    }
}
