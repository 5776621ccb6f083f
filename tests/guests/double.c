/* A guest of one operation: doubles numbers on the host.
 *
 * The prompt is read as 32-bit floats (kind IDS, so bytes pass untouched), at most COLS of them. They go
 * into a session buffer, a program of one SCALE runs over it, and the results are emitted as decimal
 * text, one number per emit, so "1 2 3" comes back as "2 4 6". It shows (and tests) recording a program
 * by hand, a step, and reading its result. Numbers are printed as integers.
 */
#include "realm_guest.h"

#define COLS 8u
#define TEXT(s) (s), (uint32_t)(sizeof(s) - 1)

static struct {
    realm_guest_program_header header;
    realm_guest_op op;
} program;

static int32_t buffer, handle;
static uint32_t used;

int32_t realm_guest_abi(void)
{
    return REALM_GUEST_ABI;
}

static uint32_t bits(float x)
{
    union {
        float f;
        uint32_t u;
    } v;
    v.f = x;
    return v.u;
}

static int32_t open_session(uint32_t model)
{
    buffer = realm_buffer_create(REALM_GUEST_F32, COLS, 1);
    if (buffer < 0)
        return buffer;
    program.header.magic = REALM_GUEST_PROGRAM_MAGIC;
    program.header.major = REALM_GUEST_ABI_MAJOR;
    program.header.minor = REALM_GUEST_ABI_MINOR;
    program.header.op_count = 1;
    program.header.model_id = model;
    /* In place: the destination is the source. x · 2 + 0. */
    program.op.code = REALM_GUEST_OP_SCALE;
    program.op.dst = REALM_GUEST_BUFFER(buffer);
    program.op.src[0] = REALM_GUEST_BUFFER(buffer);
    program.op.param[0] = bits(2.0f);
    program.op.param[1] = bits(0.0f);
    handle = realm_program_create(&program, sizeof program);
    return handle < 0 ? handle : REALM_GUEST_CONTINUE;
}

static int32_t prompt(uint32_t len)
{
    float numbers[COLS] = {0};
    int32_t n;

    if (len > sizeof numbers || len % 4 != 0) {
        realm_fail(TEXT("double: at most 8 floats"));
        return REALM_GUEST_LIMIT;
    }
    used = len / 4;
    n = realm_input_read(0, numbers, len);
    if (n < 0)
        return n;
    n = realm_buffer_write((uint32_t)buffer, 0, numbers, sizeof numbers);
    if (n < 0)
        return n;
    n = realm_step_submit((uint32_t)handle, 0, 0, 1);
    return n < 0 ? n : REALM_GUEST_CONTINUE;
}

static int32_t print(float number)
{
    char digits[16];
    uint32_t at = sizeof digits;
    int negative = number < 0;
    uint32_t n = (uint32_t)(negative ? -number : number);

    digits[--at] = ' ';
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    if (negative)
        digits[--at] = '-';
    return realm_emit(-1, digits + at, (uint32_t)sizeof digits - at);
}

static int32_t step(int32_t status)
{
    float numbers[COLS];
    uint32_t i;
    int32_t n;

    if (status < 0)
        return status;
    n = realm_buffer_read((uint32_t)buffer, 0, numbers, sizeof numbers);
    for (i = 0; i < used && n >= 0; i++)
        n = print(numbers[i]);
    return n < 0 ? n : REALM_GUEST_END_EOS;
}

int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b)
{
    switch (kind) {
    case REALM_GUEST_EVENT_OPEN:
        return open_session((uint32_t)a);
    case REALM_GUEST_EVENT_PROMPT:
        return prompt((uint32_t)b);
    case REALM_GUEST_EVENT_STEP:
        return step(a);
    case REALM_GUEST_EVENT_CANCEL:
        return REALM_GUEST_CONTINUE;
    default:
        realm_fail(TEXT("double: this event is not expected"));
        return REALM_GUEST_STATE;
    }
}
