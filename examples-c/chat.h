/* chat.h - a conversation on a terminal, for realm-run --chat. */
#ifndef CHAT_H
#define CHAT_H

#include <stdint.h>

#include "realm.h"

/* Reads messages from stdin, a line each, and writes the replies to stdout as they are made, until the input ends or
 * /quit. Ctrl-C stops a reply, not the program. `options` are those that `session` was opened with: /load opens another one
 * in its place. Returns the session to close. `settle` is called between two tokens. */
realm_session *chat_run(realm_runtime *runtime, uint32_t model, const realm_session_options *options,
                        realm_session *session, void (*settle)(void));

#endif /* CHAT_H */
