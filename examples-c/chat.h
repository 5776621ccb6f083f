/* chat.h - a conversation on a terminal, for realm-run --chat. */
#ifndef CHAT_H
#define CHAT_H

#include <stdint.h>

#include "realm.h"

#define EXIT_CONTEXT 3 /* the context was full before the end */

/* Reads messages from stdin, a line each, and writes the replies to stdout as they are made, until the input ends or
 * /quit. Ctrl-C stops a reply, not the program. `options` are those that `session` was opened with: /load opens another one
 * in its place. Returns the session to close. `settle` is called between two tokens. `code` is what the program is to end
 * with: 0, but where nobody is typing 1 if something failed and else 3 if the context was full. */
realm_session *chat_run(realm_runtime *runtime, uint32_t model, const realm_session_options *options,
                        realm_session *session, void (*settle)(void), int *code);

#endif /* CHAT_H */
