/* tool.h - what the command line tools share: options, files, models, messages, a progress bar.
 *
 * A tool prints its result to stdout and everything else to stderr. It ends with exit code 0, with
 * 1 and one line when something failed, or with 2 and one line when it was called wrongly.
 */
#ifndef TOOL_H
#define TOOL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "realm.h"
#include "realm_posix.h"

#if defined(__GNUC__)
#define TOOL_ENDS __attribute__((noreturn))
#ifdef __MINGW_PRINTF_FORMAT /* which of its two printfs */
#define TOOL_PRINTF(text, first) __attribute__((format(__MINGW_PRINTF_FORMAT, text, first)))
#else
#define TOOL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#endif
#else
#define TOOL_ENDS
#define TOOL_PRINTF(text, first)
#endif

/* Ends the program: something failed (exit code 1). */
TOOL_ENDS void tool_die(const char *format, ...) TOOL_PRINTF(1, 2);
/* Ends the program: it was called wrongly (exit code 2). */
TOOL_ENDS void tool_misuse(const char *format, ...) TOOL_PRINTF(1, 2);
/* Ends the program with the library's message if `status` is an error. */
void tool_check(realm_status status, const realm_error *error);

/* ---- options ---- */

typedef enum tool_kind {
    TOOL_FLAG,   /* target: int, set to 1 */
    TOOL_TEXT,   /* target: const char * */
    TOOL_NAME,   /* the same, and not empty */
    TOOL_NAMES,  /* target: tool_names, several, separated by commas; may be repeated */
    TOOL_COUNT,  /* target: uint32_t, whole number from `low` to `high` */
    TOOL_COUNTS, /* target: tool_counts, numbers as TOOL_COUNT, separated by commas */
    TOOL_PARAM,  /* a number from `low` to `high`, kept as text; `target` is the parameter's name */
    TOOL_WHOLE_PARAM, /* the same for whole numbers */
    TOOL_TEXT_PARAM,  /* any text; `target` is the parameter's name */
    TOOL_LINES_PARAM, /* the same for one text of several, which the parameter has one per line; may be repeated */
    TOOL_PAIR    /* KEY=VALUE, a parameter of any name; may be repeated */
} tool_kind;

typedef struct tool_option {
    const char *name;  /* "--top-k" */
    const char *alias; /* "-k", or NULL */
    tool_kind kind;
    const void *target;
    double low, high;
} tool_option;

#define TOOL_COUNTS_MAX 32
typedef struct tool_counts {
    uint32_t value[TOOL_COUNTS_MAX];
    size_t count;
} tool_counts;

#define TOOL_NAMES_MAX 15
typedef struct tool_names {
    const char *text[TOOL_NAMES_MAX];
    size_t count;
} tool_names;

/* Parameters for the guest, gathered from TOOL_PARAM options and tool_param_set. */
extern realm_param tool_params[64];
extern size_t tool_param_count;
void tool_param_set(const char *key, const char *value);

/* Reads the arguments. --help and --version print and end the program; the parts of `help`, up to a
 * NULL, follow "usage: NAME ". The last of several equal options counts. Values may be attached: --top-k=5, -n5. */
void tool_parse(int argc, char **argv, const char *name, const char *const *help,
                const tool_option *options, size_t option_count);

/* ---- files and models ---- */

/* Prompts and guests are not longer: the library takes less, and /dev/zero has no end. */
#define TOOL_FILE_MAX ((size_t)256 << 20)

/* The bytes of a file, or of stdin if `path` is "-", in memory of its own with a zero after it. Ends
 * the program if they are not to be had, or clearly more than TOOL_FILE_MAX. */
char *tool_read_file(const char *path, size_t *bytes);

/* The bytes of the demo model that is linked into realm-run; 0 bytes if there is none. */
realm_bytes tool_demo_model(void);

/* Files are mapped. tool_model_settle moves them into huge pages bit by bit, unless --mmap is given,
 * or they are there already, are small, or memory may have no room; --no-mmap does it at once. */
extern int tool_mmap, tool_no_mmap;
#define TOOL_MMAP_OPTIONS \
    {"--mmap", NULL, TOOL_FLAG, &tool_mmap, 0, 0}, {"--no-mmap", NULL, TOOL_FLAG, &tool_no_mmap, 0, 0}

/* Registers the file under `id` in the process-wide store. "-00001-of-00004.gguf" at the end of
 * `path` stands for all parts. */
void tool_model_load(const char *path, uint32_t id);

/* Moves about as many bytes more of the model into huge pages, if any are left to be moved. */
void tool_model_settle(size_t bytes);

/* ---- the rest ---- */

/* Makes the CPU port use the instructions of this name; NULL: the best there are. */
void tool_isa(const char *name);

/* A runtime whose sessions can use `thread_count` threads. */
realm_runtime *tool_runtime(uint32_t thread_count);

/* Milliseconds since some moment in the past. */
double tool_now_ms(void);
/* The most memory the process ever had resident, in bytes. */
uint64_t tool_peak_rss_bytes(void);

/* Draws a bar on stderr if that is a terminal; done == total wipes it. */
void tool_bar(const char *what, uint64_t done, uint64_t total);
int tool_bar_visible(void);

/* Writes `text` as a JSON string, quotes included. */
void tool_json_string(FILE *out, const char *text);

#endif /* TOOL_H */
