/* chat.c - a conversation on a terminal. The session keeps the conversation: a message goes in, a reply comes out, and what
 * was said stays in its context. Saving it saves the session, so that what follows is what would have followed. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifndef _WIN32
#include <sys/select.h>
#endif
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
    int code;     /* the program's: what failed is told, and the conversation goes on */
} conversation;

static void complain(conversation *c, const char *format, ...) TOOL_PRINTF(2, 3);

static void complain(conversation *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("realm-run: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    c->code = EXIT_FAILURE;
}

/* ---- Ctrl-C ---- */

enum { CTRL_C = -2 }; /* beside EOF */

static realm_session *volatile replying;

static void on_interrupt(int signal_number) {
    realm_session *session = replying;
    (void)signal_number;
    if (session != NULL) {
        realm_session_cancel(session);
    }
}

#ifdef _WIN32
static void catch_interrupts(void) { (void)signal(SIGINT, on_interrupt); }
static void hold_interrupts(int hold) { (void)hold; }
static int next_byte(void) { return getc(stdin); }
#else
static sigset_t interrupts, waiting; /* what is held while nobody waits, and what still is while a line is waited for */

static void catch_interrupts(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigemptyset(&interrupts);
    (void)sigaddset(&interrupts, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &interrupts, &waiting);
}

/* Between a reply and a line none is lost: it is held until either can be given up. */
static void hold_interrupts(int hold) { (void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &interrupts, NULL); }

/* The input's next byte, EOF, or CTRL_C. */
static int next_byte(void) {
    static char bytes[4096];
    static ssize_t count, next;
    while (next >= count) {
        fd_set input;
        FD_ZERO(&input);
        FD_SET(STDIN_FILENO, &input);
        if (pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &waiting) < 0) {
            if (errno == EINTR) {
                return CTRL_C;
            }
            return EOF;
        }
        next = 0;
        count = read(STDIN_FILENO, bytes, sizeof bytes);
        if (count <= 0) {
            return EOF;
        }
    }
    return (unsigned char)bytes[next++];
}
#endif

/* ---- lines ---- */

/* A message or command without its line end, in memory of its own. NULL: the input has ended. A line with a zero byte in it, which
 * is no text, is refused: it comes back empty. */
static char *read_message(conversation *c) {
    size_t used = 0, room = 256;
    char *text = (char *)malloc(room);
    if (text == NULL) {
        tool_die("no memory for a message");
    }
    if (c->terminal) {
        fputs("> ", stderr);
    }
    for (;;) {
        const int byte = next_byte();
        if (byte == CTRL_C) { /* a new line */
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
        complain(c, "the line has a zero byte in it and is no text: it is left out");
        text[0] = '\0';
    }
    return text;
}

/* ---- a turn ---- */

/* Says a message and writes the reply. What fails is told; the conversation goes on. */
static void turn(conversation *c, const char *message) {
    realm_error error = {0, ""};
    char last = '\n';
    if (realm_session_prompt(c->session, REALM_INPUT_CHAT, message, strlen(message), &error) < 0) {
        complain(c, "%s", error.message);
        return;
    }
    replying = c->session;
    hold_interrupts(0);
    for (;;) {
        realm_event event = REALM_EVENT_INIT;
        if (realm_session_poll(c->session, REALM_BUDGET_UNLIMITED, &event, &error) < 0) {
            if (last != '\n') {
                putchar('\n');
            }
            complain(c, "%s", error.message);
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
                c->code = c->code != 0 ? c->code : EXIT_CONTEXT;
            }
            break;
        }
        c->settle();
    }
    hold_interrupts(1);
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

static void save(conversation *c, const char *path) {
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
        complain(c, "cannot write %s: %s", path, strerror(why));
    } else {
        complain(c, "%s", error.message);
    }
    free(beside);
}

static void load(conversation *c, const char *path) {
    realm_error error = {0, ""};
    realm_session *loaded = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        complain(c, "cannot read %s: %s", path, strerror(errno));
        return;
    }
    errno = 0;
    const realm_status status =
        realm_session_load_from(c->runtime, c->model, c->options, read_from_file, file, &loaded, &error);
    const int why = errno, cut = feof(file);
    (void)fclose(file);
    if (status == REALM_STATUS_IO) {
        complain(c, "cannot read %s: %s", path, strerror(why));
        return;
    }
    if (status == REALM_STATUS_FORMAT && cut) {
        complain(c, "%s is no saved conversation, or not all of one", path);
        return;
    }
    if (status < 0) {
        complain(c, "%s", error.message);
        return;
    }
    realm_session_close(c->session);
    c->session = loaded;
    fprintf(stderr, "going on with %s\n", path);
}

static void reset(conversation *c) {
    realm_error error = {0, ""};
    if (realm_session_rewind(c->session, 0, &error) < 0) {
        complain(c, "%s", error.message);
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
        complain(c, "the name of a file is missing");
    } else {
        complain(c, "'%s' is no command; /help lists them", line);
    }
    return 1;
}

realm_session *chat_run(realm_runtime *runtime, uint32_t model, const realm_session_options *options,
                        realm_session *session, void (*settle)(void), int *code) {
    conversation c = {runtime, model, options, session, settle, isatty(STDIN_FILENO), 0};
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
    *code = c.terminal ? 0 : c.code; /* who types has read what failed */
    return c.session;
}
