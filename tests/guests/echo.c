/* The smallest guest: gives the prompt back, token by token, and computes nothing.
 *
 * It shows (and tests) a guest in C: events, the tokenizer, the detokenizer, emitting. A prompt of more
 * than MAX_TOKENS tokens or MAX_BYTES bytes is refused.
 */
#include "realm_guest.h"

#define MAX_BYTES 4096u
#define MAX_TOKENS 4096u
#define TEXT(s) (s), (uint32_t)(sizeof(s) - 1)

static uint32_t model;
static char text[MAX_BYTES];
static uint32_t tokens[MAX_TOKENS];

int32_t realm_guest_abi(void)
{
    return REALM_GUEST_ABI;
}

static int32_t too_long(void)
{
    realm_fail(TEXT("echo: the prompt is too long"));
    return REALM_GUEST_LIMIT;
}

static int32_t echo(int32_t kind, uint32_t len)
{
    char piece[1024];
    int32_t count, i, n;

    if (kind == REALM_GUEST_INPUT_IDS) {
        if (len > sizeof tokens || len % 4 != 0)
            return too_long();
        n = realm_input_read(0, tokens, len);
        if (n < 0)
            return n;
        count = (int32_t)(len / 4);
    } else {
        if (len > MAX_BYTES)
            return too_long();
        n = realm_input_read(0, text, len);
        if (n < 0)
            return n;
        count = realm_tokenize(model, text, len, REALM_GUEST_PARSE_SPECIAL, tokens, MAX_TOKENS);
        if (count < 0)
            return count;
        if ((uint32_t)count > MAX_TOKENS)
            return too_long();
    }
    realm_detok_reset();
    for (i = 0; i < count; i++) {
        n = realm_detok_push(tokens[i], piece, sizeof piece);
        if (n < 0)
            return n;
        n = realm_emit((int32_t)tokens[i], piece, (uint32_t)n);
        if (n < 0)
            return n;
    }
    n = realm_detok_flush(piece, sizeof piece);
    if (n > 0)
        realm_emit(-1, piece, (uint32_t)n);
    return REALM_GUEST_END_EOS;
}

int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b)
{
    switch (kind) {
    case REALM_GUEST_EVENT_OPEN:
        model = (uint32_t)a;
        return REALM_GUEST_CONTINUE;
    case REALM_GUEST_EVENT_PROMPT:
        return echo(a, (uint32_t)b);
    case REALM_GUEST_EVENT_CANCEL:
        return REALM_GUEST_CONTINUE;
    default:
        realm_fail(TEXT("echo: this event is not expected"));
        return REALM_GUEST_STATE;
    }
}
