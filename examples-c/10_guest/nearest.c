/* nearest.c - a guest: finds the tokens that a model takes for most alike.
 *
 * Built with tests/guests/build.sh; nearest.wasm is checked in beside it. A guest holds no weights. It records
 * a program over handles once, when the session opens, and submits it with an input from then on; the host
 * validates, plans and computes. This one embeds a token, multiplies with the whole table, and takes the best.
 */
#include "realm_guest.h"

#define BEST 4u
#define TEXT(s) (s), (uint32_t)(sizeof(s) - 1)

/* Laid out as guest/ABI.md asks: header, values, operations. */
static struct {
    realm_guest_program_header header;
    realm_guest_value value[2];
    realm_guest_op op[3];
} program;

static uint32_t model;
static int32_t ids, best, scores, handle;

int32_t realm_guest_abi(void)
{
    return REALM_GUEST_ABI;
}

static int32_t open_session(void)
{
    realm_guest_tensor_info info;
    const int32_t table = realm_tensor_find(model, TEXT("token_embd.weight"));
    const int32_t described = realm_tensor_describe(model, (uint32_t)table, &info, sizeof info);

    /* A negative status ends the opening; the host has a message for the import that failed. */
    if (table < 0)
        return table;
    if (described < 0)
        return described;
    if ((ids = realm_buffer_create(REALM_GUEST_I32, 1, 1)) < 0)
        return ids;
    if ((best = realm_buffer_create(REALM_GUEST_I32, BEST, 1)) < 0)
        return best;
    if ((scores = realm_buffer_create(REALM_GUEST_F32, BEST, 1)) < 0)
        return scores;

    program.header.magic = REALM_GUEST_PROGRAM_MAGIC;
    program.header.major = REALM_GUEST_ABI_MAJOR;
    program.header.minor = REALM_GUEST_ABI_MINOR;
    program.header.value_count = 2;
    program.header.op_count = 3;
    program.header.model_id = model;
    /* Intermediates of one row: the token's embedding, and its product with every other. */
    program.value[0].type = REALM_GUEST_F32;
    program.value[0].cols = (uint32_t)info.ne[0];
    program.value[0].rows = 1;
    program.value[1].type = REALM_GUEST_F32;
    program.value[1].cols = (uint32_t)info.ne[1];
    program.value[1].rows = 1;
    program.op[0].code = REALM_GUEST_OP_GET_ROWS;
    program.op[0].dst = REALM_GUEST_VALUE(0);
    program.op[0].src[0] = REALM_GUEST_WEIGHT(table);
    program.op[0].src[1] = REALM_GUEST_BUFFER(ids);
    program.op[1].code = REALM_GUEST_OP_MUL_MAT;
    program.op[1].dst = REALM_GUEST_VALUE(1);
    program.op[1].src[0] = REALM_GUEST_WEIGHT(table);
    program.op[1].src[1] = REALM_GUEST_VALUE(0);
    program.op[2].code = REALM_GUEST_OP_TOP_K;
    program.op[2].dst = REALM_GUEST_BUFFER(best);
    program.op[2].src[0] = REALM_GUEST_VALUE(1);
    program.op[2].src[1] = REALM_GUEST_BUFFER(scores);
    program.op[2].param[0] = BEST;
    handle = realm_program_create(&program, sizeof program);
    return handle < 0 ? handle : REALM_GUEST_CONTINUE;
}

/* The word must be one token of the vocabulary. */
static int32_t prompt(uint32_t bytes)
{
    char word[64];
    int32_t token, n;

    if (bytes > sizeof word) {
        realm_fail(TEXT("nearest: one word, please"));
        return REALM_GUEST_LIMIT;
    }
    n = realm_input_read(0, word, bytes);
    if (n < 0)
        return n;
    token = realm_token_find(model, word, bytes);
    if (token < 0) {
        realm_fail(TEXT("nearest: the vocabulary has no such token"));
        return token;
    }
    n = realm_buffer_write((uint32_t)ids, 0, &token, sizeof token);
    if (n < 0)
        return n;
    n = realm_step_submit((uint32_t)handle, 0, 0, 1);
    return n < 0 ? n : REALM_GUEST_CONTINUE;
}

static int32_t step(int32_t status)
{
    uint32_t token[BEST], i;
    int32_t n = status;

    if (n == REALM_GUEST_OK)
        n = realm_buffer_read((uint32_t)best, 0, token, sizeof token);
    for (i = 0; i < BEST && n >= 0; i++)
        n = realm_emit_token(token[i]);
    return n < 0 ? n : REALM_GUEST_END_EOS;
}

int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b)
{
    switch (kind) {
    case REALM_GUEST_EVENT_OPEN:
        model = (uint32_t)a;
        return open_session();
    case REALM_GUEST_EVENT_PROMPT:
        return prompt((uint32_t)b);
    case REALM_GUEST_EVENT_STEP:
        return step(a);
    default: /* CANCEL: there is nothing to forget */
        return REALM_GUEST_CONTINUE;
    }
}
