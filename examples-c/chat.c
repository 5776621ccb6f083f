/* chat.c - a conversation on a terminal. The session keeps the conversation: a message goes in, a reply comes out, and what
 * was said stays in its context. Saving it saves the session, so that what follows is what would have followed. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chat.h"
#include "tool.h"

static const char commands[] =
    "  /save FILE   write the conversation to FILE, to go on with another day\n"
    "  /load FILE   go on with the conversation in FILE, and its parameters (same model, same guest)\n"
    "  /reset       begin anew, with the parameters that hold\n"
    "  /help        this list\n"
    "  /quit        end; so does the end of the input (Ctrl-D)\n"
    "Ctrl-C stops a reply. A line that ends with \\ goes on in the next; // at its beginning is a /.\n";

typedef struct conversation {
    realm_runtime *runtime;
    uint32_t model;
    const realm_session_options *options;
    realm_session *session;
    void (*settle)(void);
    int terminal; /* somebody is typing */
} conversation;

/* ---- Ctrl-C ---- */

static realm_session *volatile replying;

static void on_interrupt(int signal_number) {
    realm_session *session = replying;
    (void)signal_number;
    if (session != NULL) {
        realm_session_cancel(session);
    }
}

/* Without restarting what it interrupts, so that a line that is being typed can be given up too. */
static void catch_interrupts(void) {
#ifdef _WIN32
    (void)signal(SIGINT, on_interrupt);
#else
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    (void)sigaction(SIGINT, &action, NULL);
#endif
}

/* ---- lines ---- */

/* A message or command without its line end, in memory of its own. NULL: the input has ended. A line with a zero byte in it, which
 * is no text, is refused: it comes back empty. */
static char *read_message(const conversation *c) {
    size_t used = 0, room = 256;
    char *text = (char *)malloc(room);
    if (text == NULL) {
        tool_die("no memory for a message");
    }
    if (c->terminal) {
        fputs("> ", stderr);
    }
    for (;;) {
        const int byte = getc(stdin);
        if (byte == EOF && ferror(stdin) && errno == EINTR) { /* Ctrl-C: a new line */
            clearerr(stdin);
            used = 0;
            fputs("\n> ", stderr);
            continue;
        }
        if (byte == EOF && used == 0) {
            free(text);
            return NULL;
        }
        if (byte == EOF || byte == '\n') {
            if (byte == '\n' && used > 0 && text[used - 1] == '\r') { /* lines of other systems */
                used--;
            }
            if (byte == EOF || used == 0 || text[used - 1] != '\\') {
                break;
            }
            text[used - 1] = '\n';
            if (c->terminal) {
                fputs(". ", stderr);
            }
            continue;
        }
        text[used++] = (char)byte;
        if (used + 1 == room) {
            room *= 2;
            if (room > TOOL_FILE_MAX) {
                tool_die("a message is longer than %zu bytes", TOOL_FILE_MAX);
            }
            text = (char *)realloc(text, room);
            if (text == NULL) {
                tool_die("no memory for a message");
            }
        }
    }
    text[used] = '\0';
    if (strlen(text) != used) {
        fputs("realm-run: the line has a zero byte in it and is no text: it is left out\n", stderr);
        text[0] = '\0';
    }
    return text;
}

/* ---- a turn ---- */

static void complain(const realm_error *error) { fprintf(stderr, "realm-run: %s\n", error->message); }

/* Says a message and writes the reply. What fails is told; the conversation goes on. */
static void turn(const conversation *c, const char *message) {
    realm_error error = {0, ""};
    char last = '\n';
    if (realm_session_prompt(c->session, REALM_INPUT_CHAT, message, strlen(message), &error) < 0) {
        complain(&error);
        return;
    }
    replying = c->session;
    for (;;) {
        realm_event event = REALM_EVENT_INIT;
        if (realm_session_poll(c->session, REALM_BUDGET_UNLIMITED, &event, &error) < 0) {
            if (last != '\n') {
                putchar('\n');
            }
            complain(&error);
            break;
        }
        if (event.text_bytes > 0) {
            (void)fwrite(event.text, 1, event.text_bytes, stdout);
            last = event.text[event.text_bytes - 1];
            if (fflush(stdout) != 0) {
                tool_die("cannot write to stdout: %s", strerror(errno));
            }
        }
        if (event.kind == REALM_EVENT_DONE) {
            if (last != '\n') {
                putchar('\n');
                (void)fflush(stdout);
            }
            if (event.reason == REALM_DONE_CANCELLED) {
                fputs("[stopped]\n", stderr);
            } else if (event.reason == REALM_DONE_CONTEXT) {
                fputs("realm-run: the context is full: /reset begins anew, and -c gives more room\n", stderr);
            }
            break;
        }
        c->settle();
    }
    replying = NULL;
}

/* ---- commands ---- */

static int32_t write_to_file(void *ctx, const void *data, size_t bytes) {
    return fwrite(data, 1, bytes, (FILE *)ctx) == bytes ? 0 : REALM_STATUS_IO;
}

static int32_t read_from_file(void *ctx, void *data, size_t bytes) {
    FILE *file = (FILE *)ctx;
    if (fread(data, 1, bytes, file) == bytes) {
        return 0;
    }
    return ferror(file) ? REALM_STATUS_IO : REALM_STATUS_FORMAT;
}

static void save(const conversation *c, const char *path) {
    realm_error error = {0, ""};
    struct stat there;
    /* Beside it first: what was saved there is lost only to what is whole. But a device is written to. */
    const int replaces = stat(path, &there) != 0 || S_ISREG(there.st_mode);
    char *beside = (char *)malloc(strlen(path) + sizeof ".part");
    if (beside == NULL) {
        tool_die("no memory for a name");
    }
    strcat(strcpy(beside, path), replaces ? ".part" : "");
    FILE *file = fopen(beside, "wb");
    realm_status status = REALM_STATUS_IO;
    int why = errno;
    if (file != NULL) {
        errno = 0;
        status = realm_session_save_to(c->session, write_to_file, file, &error);
        why = errno;
        if (fclose(file) != 0 && status == REALM_STATUS_OK) {
            status = REALM_STATUS_IO;
            why = errno;
        }
#ifdef _WIN32 /* whose rename replaces nothing */
        if (status == REALM_STATUS_OK && replaces) {
            (void)remove(path);
        }
#endif
        if (status == REALM_STATUS_OK && replaces && rename(beside, path) != 0) {
            status = REALM_STATUS_IO;
            why = errno;
        }
        if (status != REALM_STATUS_OK && replaces) {
            (void)remove(beside);
        }
    }
    if (status == REALM_STATUS_OK) {
        fprintf(stderr, "saved to %s\n", path);
    } else if (status == REALM_STATUS_IO) {
        fprintf(stderr, "realm-run: cannot write %s: %s\n", path, strerror(why));
    } else {
        complain(&error);
    }
    free(beside);
}

static void load(conversation *c, const char *path) {
    realm_error error = {0, ""};
    realm_session *loaded = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "realm-run: cannot read %s: %s\n", path, strerror(errno));
        return;
    }
    errno = 0;
    const realm_status status =
        realm_session_load_from(c->runtime, c->model, c->options, read_from_file, file, &loaded, &error);
    const int why = errno, cut = feof(file);
    (void)fclose(file);
    if (status == REALM_STATUS_IO) {
        fprintf(stderr, "realm-run: cannot read %s: %s\n", path, strerror(why));
        return;
    }
    if (status == REALM_STATUS_FORMAT && cut) {
        fprintf(stderr, "realm-run: %s is no saved conversation, or not all of one\n", path);
        return;
    }
    if (status < 0) {
        complain(&error);
        return;
    }
    realm_session_close(c->session);
    c->session = loaded;
    fprintf(stderr, "going on with %s\n", path);
}

static void reset(const conversation *c) {
    realm_error error = {0, ""};
    if (realm_session_rewind(c->session, 0, &error) < 0) {
        complain(&error);
    } else {
        fputs("a new conversation\n", stderr);
    }
}

/* The rest of a line that begins with this word, without the blanks between; NULL if it does not. */
static const char *after(const char *line, const char *word) {
    const size_t length = strlen(word);
    if (strncmp(line, word, length) != 0 || (line[length] != '\0' && line[length] != ' ')) {
        return NULL;
    }
    return line + length + strspn(line + length, " ");
}

/* Does what a line that begins with / says. Returns 0 if that is to end. */
static int command(conversation *c, const char *line) {
    const char *path = NULL;
    if (after(line, "/quit") != NULL || after(line, "/exit") != NULL) {
        return 0;
    }
    if (after(line, "/help") != NULL) {
        fputs(commands, stderr);
    } else if (after(line, "/reset") != NULL) {
        reset(c);
    } else if ((path = after(line, "/save")) != NULL && *path != '\0') {
        save(c, path);
    } else if ((path = after(line, "/load")) != NULL && *path != '\0') {
        load(c, path);
    } else if (path != NULL || after(line, "/save") != NULL) {
        fputs("realm-run: the name of a file is missing\n", stderr);
    } else {
        fprintf(stderr, "realm-run: '%s' is no command; /help lists them\n", line);
    }
    return 1;
}

realm_session *chat_run(realm_runtime *runtime, uint32_t model, const realm_session_options *options,
                        realm_session *session, void (*settle)(void)) {
    conversation c = {runtime, model, options, session, settle, isatty(STDIN_FILENO)};
    int going_on = 1;
    catch_interrupts();
    if (c.terminal) {
        fputs("Ctrl-C stops a reply, /help lists commands, Ctrl-D ends.\n", stderr);
    }
    while (going_on) {
        char *line = read_message(&c);
        if (line == NULL) {
            break;
        }
        if (line[0] == '/' && line[1] != '/') {
            going_on = command(&c, line);
        } else if (line[strspn(line, " \t\n")] != '\0') {
            turn(&c, line[0] == '/' ? line + 1 : line);
        }
        free(line);
    }
    if (c.terminal && going_on) {
        fputc('\n', stderr);
    }
    return c.session;
}
