/* tool.c - see tool.h. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifdef __APPLE__
#define _DARWIN_C_SOURCE 1
#endif

#include "tool.h"
#ifdef REALM_CUDA
#include "realm_cuda.h"
#endif
#ifdef REALM_METAL
#include "realm_metal.h"
#endif

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#define PSAPI_VERSION 2 /* in kernel32 */
#include <windows.h>

#include <psapi.h>
#else
#include <sys/resource.h>
#endif
#include <unistd.h>

static const char *tool_name = "realm";
static int bar_drawn = 0;
int tool_mmap = 0, tool_no_mmap = 0;

/* ---- messages ---- */

static void say(const char *format, va_list args) {
    char line[1024];
    (void)vsnprintf(line, sizeof line, format, args);
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?'; /* one line, whatever a file name contains */
        }
    }
    tool_bar("", 1, 1);
    (void)fflush(stdout);
    fprintf(stderr, "%s: %s\n", tool_name, line);
}

void tool_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    exit(1);
}

void tool_misuse(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    exit(2);
}

void tool_check(realm_status status, const realm_error *error) {
    if (status < 0) {
        tool_die("%s", error->message[0] != '\0' ? error->message : realm_status_name(status));
    }
}

/* ---- options ---- */

realm_param tool_params[64];
size_t tool_param_count = 0;

void tool_param_set(const char *key, const char *value) {
    for (size_t i = 0; i < tool_param_count; i++) {
        if (strcmp(tool_params[i].key, key) == 0) {
            tool_params[i].value = value;
            return;
        }
    }
    if (tool_param_count == sizeof tool_params / sizeof tool_params[0]) {
        tool_misuse("too many parameters");
    }
    tool_params[tool_param_count].key = key;
    tool_params[tool_param_count].value = value;
    tool_param_count++;
}

/* What is wrong with a number: the text that was given, all of it, and what would have been right. */
static void not_a_number(const tool_option *o, const char *text) {
    const int whole = o->kind != TOOL_PARAM;
    tool_misuse("%s: '%s' is not a %s from %.10g to %.10g%s", o->name, text, whole ? "whole number" : "number",
                o->low, o->high, o->kind == TOOL_COUNTS ? ", or several with commas between them" : "");
}

/* Reads one number at `at`, a place in `text`; returns what comes behind it. */
static const char *read_number(const tool_option *o, const char *text, const char *at, double *value) {
    char *end = NULL;
    /* strtod also knows blanks, hexadecimal and "nan", which here would be slips of the hand. */
    if (at[0] == '\0' || strspn(at, "+-.0123456789eE,") != strlen(at)) {
        not_a_number(o, text);
    }
    errno = 0;
    *value = strtod(at, &end);
    if (end == at || errno != 0 || !(*value >= o->low && *value <= o->high) ||
        (o->kind != TOOL_PARAM && *value != floor(*value))) {
        not_a_number(o, text);
    }
    return end;
}

static void set_counts(const tool_option *o, const char *text) {
    tool_counts *counts = (tool_counts *)(uintptr_t)o->target;
    const char *at = text;
    counts->count = 0;
    for (;;) {
        double value;
        if (counts->count == TOOL_COUNTS_MAX) {
            tool_misuse("%s: at most %d numbers", o->name, TOOL_COUNTS_MAX);
        }
        at = read_number(o, text, at, &value);
        counts->value[counts->count++] = (uint32_t)value;
        if (*at == '\0') {
            return;
        }
        if (*at != ',') {
            not_a_number(o, text);
        }
        at++;
    }
}

static void add_names(const tool_option *o, const char *text) {
    tool_names *names = (tool_names *)(uintptr_t)o->target;
    char *name = strdup(text);
    if (name == NULL) {
        tool_die("no memory for %s", o->name);
    }
    for (char *comma;; name = comma + 1) {
        comma = strchr(name, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        if (name[0] == '\0') {
            tool_misuse("%s: the value is empty", o->name);
        }
        if (names->count == TOOL_NAMES_MAX) {
            tool_misuse("%s: at most %d values", o->name, TOOL_NAMES_MAX);
        }
        names->text[names->count++] = name;
        if (comma == NULL) {
            return;
        }
    }
}

/* Adds a line to a parameter that is a list of them. A line end in the text is written as the escape that means one. */
static void add_line(const tool_option *o, const char *text) {
    const char *key = (const char *)o->target, *before = "";
    char *lines, *to;
    if (text[0] == '\0') {
        tool_misuse("%s: the value is empty", o->name);
    }
    for (size_t i = 0; i < tool_param_count; i++) {
        if (strcmp(tool_params[i].key, key) == 0) {
            before = tool_params[i].value;
        }
    }
    lines = (char *)malloc(strlen(before) + 2 * strlen(text) + 2);
    if (lines == NULL) {
        tool_die("no memory for %s", o->name);
    }
    to = lines + sprintf(lines, before[0] != '\0' ? "%s\n" : "%s", before);
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            *to++ = '\\';
        }
        *to++ = *text == '\n' ? 'n' : *text;
    }
    *to = '\0';
    tool_param_set(key, lines);
}

static void set_pair(const tool_option *o, const char *text) {
    const char *equals = strchr(text, '=');
    char *key;
    if (equals == NULL || equals == text) {
        tool_misuse("%s: '%s' is not KEY=VALUE", o->name, text);
    }
    key = strdup(text);
    if (key == NULL) {
        tool_die("no memory for %s", o->name);
    }
    key[equals - text] = '\0';
    tool_param_set(key, equals + 1);
}

static void set_option(const tool_option *o, const char *text) {
    double value;
    switch (o->kind) {
    case TOOL_FLAG:
        *(int *)(uintptr_t)o->target = 1;
        return;
    case TOOL_NAME:
        /* Usually a variable of a shell that is not set. */
        if (text[0] == '\0') {
            tool_misuse("%s: the value is empty", o->name);
        }
        *(const char **)(uintptr_t)o->target = text;
        return;
    case TOOL_TEXT:
        *(const char **)(uintptr_t)o->target = text;
        return;
    case TOOL_NAMES:
        add_names(o, text);
        return;
    case TOOL_COUNTS:
        set_counts(o, text);
        return;
    case TOOL_PAIR:
        set_pair(o, text);
        return;
    case TOOL_TEXT_PARAM:
        tool_param_set((const char *)o->target, text);
        return;
    case TOOL_LINES_PARAM:
        add_line(o, text);
        return;
    default:
        break;
    }
    if (*read_number(o, text, text, &value) != '\0') {
        not_a_number(o, text);
    }
    if (o->kind == TOOL_COUNT) {
        *(uint32_t *)(uintptr_t)o->target = (uint32_t)value;
    } else {
        tool_param_set((const char *)o->target, text);
    }
}

static const tool_option *find_option(const char *arg, size_t name_bytes,
                                      const tool_option *options, size_t option_count) {
    for (size_t i = 0; i < option_count; i++) {
        const tool_option *o = &options[i];
        if (strlen(o->name) == name_bytes && memcmp(o->name, arg, name_bytes) == 0) {
            return o;
        }
        if (o->alias != NULL && strcmp(o->alias, arg) == 0) {
            return o;
        }
    }
    return NULL;
}

/* The option of one letter or two, like -n or -np, that the value is attached to; of several the longest. A file is attached to one
 * letter only, or -mdemo.gguf would be the draft emo.gguf. */
static const tool_option *find_attached(const char *arg, const tool_option *options, size_t option_count) {
    const tool_option *found = NULL;
    for (size_t i = 0; i < option_count; i++) {
        const tool_option *o = &options[i];
        const int names_file = o->kind == TOOL_NAME || o->kind == TOOL_NAMES;
        if (o->alias != NULL && o->kind != TOOL_FLAG && !(names_file && strlen(o->alias) > 2) && strncmp(o->alias, arg, strlen(o->alias)) == 0 &&
            (found == NULL || strlen(o->alias) > strlen(found->alias))) {
            found = o;
        }
    }
    return found;
}

void tool_parse(int argc, char **argv, const char *name, const char *const *help,
                const tool_option *options, size_t option_count) {
    tool_name = name;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        const char *equals = strncmp(arg, "--", 2) == 0 ? strchr(arg, '=') : NULL;
        const size_t name_bytes = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
        const tool_option *o;
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            printf("usage: %s ", name);
            for (; *help != NULL; help++) fputs(*help, stdout);
            exit(0);
        }
        if (strcmp(arg, "--version") == 0) {
            printf("%s %s\n", name, realm_version());
            exit(0);
        }
        o = find_option(arg, name_bytes, options, option_count);
        if (o == NULL && arg[0] == '-' && arg[1] != '-' && (o = find_attached(arg, options, option_count)) != NULL) {
            set_option(o, arg + strlen(o->alias));
            continue;
        }
        if (o == NULL) {
            tool_misuse(arg[0] == '-' ? "unknown option '%s' (see --help)"
                                      : "unexpected argument '%s' (see --help)",
                        arg);
        }
        if (o->kind == TOOL_FLAG) {
            if (equals != NULL) {
                tool_misuse("%s takes no value", o->name);
            }
            set_option(o, NULL);
        } else if (equals != NULL) {
            set_option(o, equals + 1);
        } else if (i + 1 < argc) {
            set_option(o, argv[++i]);
        } else {
            tool_misuse("%s needs a value", arg);
        }
    }
}

/* ---- files and models ---- */

char *tool_read_file(const char *path, size_t *bytes) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t capacity = 1 << 16, used = 0;
    char *data = (char *)malloc(capacity);
    if (file == NULL) {
        tool_die("cannot open %s: %s", path, strerror(errno));
    }
    while (data != NULL) {
        const size_t n = fread(data + used, 1, capacity - used - 1, file);
        used += n;
        if (n == 0) {
            break;
        }
        if (used == capacity - 1) {
            char *more;
            if (capacity > TOOL_FILE_MAX) {
                tool_die("%s has over %u MiB", path, (unsigned)(TOOL_FILE_MAX >> 20));
            }
            more = (char *)realloc(data, capacity * 2);
            if (more == NULL) {
                free(data);
            }
            data = more;
            capacity *= 2;
        }
    }
    if (data == NULL) {
        tool_die("no memory for %s", path);
    }
    if (ferror(file)) {
        tool_die("cannot read %s: %s", path, strerror(errno));
    }
    if (file != stdin) {
        (void)fclose(file);
    }
    data[used] = '\0';
    *bytes = used;
    return data;
}

/* The number of parts that "…-00001-of-00004.gguf" names; 1 for any other path. */
static uint32_t split_count(const char *path) {
    static const char pattern[] = "-#####-of-#####.gguf";
    const size_t pattern_bytes = sizeof pattern - 1, bytes = strlen(path);
    const char *tail = path + (bytes >= pattern_bytes ? bytes - pattern_bytes : bytes);
    for (size_t i = 0; i < pattern_bytes; i++) {
        const int digit = tail[i] >= '0' && tail[i] <= '9';
        if (pattern[i] == '#' ? !digit : tail[i] != pattern[i]) {
            return 1;
        }
    }
    if (strtoul(tail + 1, NULL, 10) != 1) {
        tool_die("%s is a later part of a split model: name the first", path);
    }
    const unsigned long count = strtoul(tail + 10, NULL, 10);
    if (count == 0) {
        tool_die("%s: a model has at least one part", path);
    }
    return (uint32_t)count;
}

/* Reading one byte of each page brings the file into memory, so that the bar shows something
 * true. Without a terminal to show it on, the pages come when they are used. */
static void page_in(const realm_posix_map *map, uint64_t before, uint64_t total) {
    const volatile unsigned char *data = (const volatile unsigned char *)map->data;
    for (size_t at = 0; tool_bar_visible() && at < map->bytes; at += 4096) {
        (void)data[at];
        if (at % (8u << 20) == 0) {
            tool_bar("load", before + at, total);
        }
    }
}

static void register_parts(const char *what, const realm_bytes *parts, size_t count,
                           realm_release_fn release, uint32_t id) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_error error = {0, ""};
    source.parts = parts;
    source.part_count = count;
    source.id = id;
    source.release = release;
    if (realm_model_register(NULL, &source, &id, &error) < 0) {
        tool_die("%s: %s", what, error.message);
    }
}

/* The model's parts, how far they have been moved into huge pages, and whether that is decided. */
static struct {
    const realm_bytes *parts;
    size_t count, part, from, piece;
    int decided;
} moving;

/* Bytes that a process can still ask for, as far as the system tells: what the machine has
 * available, and what is left of the limit of a container. */
static double available_bytes(void) {
    double bytes = 0, limit = 0, used = 0;
    unsigned long long kib;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
            bytes = (double)kib * 1024;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file != NULL) {
        (void)!fscanf(file, "%lf", &limit); /* "max" leaves 0 */
        (void)fclose(file);
    }
    file = fopen("/sys/fs/cgroup/memory.current", "r");
    if (file != NULL) {
        (void)!fscanf(file, "%lf", &used);
        (void)fclose(file);
    }
    return limit > 0 && limit - used < bytes ? limit - used : bytes;
}

/* Whether moving is worth it, and safe: what is in memory as the file must fit twice, because a file
 * that lives in memory (tmpfs) never goes. */
static int worth_moving(void) {
    uint64_t total = 0;
    for (size_t i = 0; i < moving.count; i++) {
        total += moving.parts[i].bytes;
    }
    /* Some thousand mappings at most. */
    moving.piece = (size_t)(total / 4096) > ((size_t)8 << 20) ? (size_t)(total / 4096) : (size_t)8 << 20;
    if (moving.count == 0 || tool_mmap || (double)total > available_bytes() / 2) {
        return 0;
    }
    const realm_posix_map first = {moving.parts[0].data, moving.parts[0].bytes};
    return tool_no_mmap || (total >= (16u << 20) && !realm_posix_map_is_huge(&first));
}

void tool_model_settle(size_t bytes) {
    if (!moving.decided) {
        moving.decided = 1;
        moving.count = worth_moving() ? moving.count : 0;
    }
    while (bytes > 0 && moving.part < moving.count) {
        const realm_bytes *part = &moving.parts[moving.part];
        const realm_posix_map map = {part->data, part->bytes};
        const size_t piece = bytes < moving.piece ? bytes : moving.piece;
        if (realm_posix_map_move_to_huge(&map, moving.from, piece, &moving.from, NULL) < 0) {
            moving.count = 0;
            return;
        }
        bytes -= piece;
        if (moving.from >= part->bytes) {
            moving.part++;
            moving.from = 0;
        }
    }
}

void tool_model_load(const char *path, uint32_t id) {
    realm_error error = {0, ""};
    const uint32_t count = split_count(path);
    realm_bytes *parts = (realm_bytes *)calloc(count, sizeof *parts);
    char *name = (char *)malloc(strlen(path) + 1);
    uint64_t total = 0, before = 0;
    if (parts == NULL || name == NULL) {
        tool_die("no memory for %s", path);
    }
    strcpy(name, path);
    for (uint32_t i = 0; i < count; i++) {
        realm_posix_map map = {NULL, 0};
        if (count > 1) {
            char number[16];
            (void)snprintf(number, sizeof number, "%05u", (unsigned)(i + 1));
            memcpy(name + strlen(name) - 19, number, 5);
        }
        tool_check(realm_posix_map_file(name, &map, &error), &error);
        parts[i].data = map.data;
        parts[i].bytes = map.bytes;
        total += map.bytes;
    }
    for (uint32_t i = 0; i < count && total >= (64u << 20); i++) {
        const realm_posix_map map = {parts[i].data, parts[i].bytes};
        page_in(&map, before, total);
        before += map.bytes;
    }
    tool_bar("load", 1, 1);
    /* From here on the library owns the mappings, also when it refuses them. */
    register_parts(path, parts, count, realm_posix_release, id);
    free(name);
    /* Moved while the tool works, which is before it removes the model. */
    moving.parts = parts;
    moving.count = count;
    if (tool_no_mmap) {
        tool_model_settle(SIZE_MAX);
    }
}

/* ---- the rest ---- */

void tool_isa(const char *name) {
    realm_error error = {0, ""};
    if (name != NULL) {
        tool_check(realm_cpu_force_isa(name, strlen(name), &error), &error);
    }
}

#ifdef REALM_CUDA
/* A GPU is preferred where there is one; where there is none, the CPU does. */
static void add_cuda(realm_runtime *runtime) {
    realm_cuda_backend *cuda = NULL; /* as long as the program */
    realm_error error = {0, ""};
    if (realm_cuda_backend_create(NULL, &cuda, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        return;
    }
    tool_check(realm_runtime_add_backend(runtime, realm_cuda_backend_table(cuda), &error), &error);
}
#endif

#ifdef REALM_METAL
/* The same for one of Apple's. */
static void add_metal(realm_runtime *runtime) {
    realm_metal_backend *metal = NULL; /* as long as the program */
    realm_error error = {0, ""};
    if (realm_metal_backend_create(NULL, &metal, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        return;
    }
    tool_check(realm_runtime_add_backend(runtime, realm_metal_backend_table(metal), &error), &error);
}
#endif

realm_runtime *tool_runtime(uint32_t thread_count) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_runtime *runtime = NULL;
    realm_error error = {0, ""};
    options.platform = realm_posix_platform();
    if (thread_count > 1) {
        /* Lives as long as the process: the threads sleep when there is nothing to do. */
        realm_posix_pool *pool = NULL;
        tool_check(realm_posix_pool_create(thread_count, &pool, &error), &error);
        options.platform = realm_posix_pool_platform(pool);
    }
    tool_check(realm_runtime_create(&options, &runtime, &error), &error);
#ifdef REALM_CUDA
    add_cuda(runtime);
#endif
#ifdef REALM_METAL
    add_metal(runtime);
#endif
    return runtime;
}

double tool_now_ms(void) {
    const realm_platform *platform = realm_posix_platform();
    return (double)platform->clock_ns(platform->ctx) / 1e6;
}

#ifdef _WIN32
uint64_t tool_peak_rss_bytes(void) {
    PROCESS_MEMORY_COUNTERS counters;
    return GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? counters.PeakWorkingSetSize : 0;
}
#else
uint64_t tool_peak_rss_bytes(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
#ifdef __APPLE__
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024u;
#endif
}
#endif

int tool_bar_visible(void) { return isatty(STDERR_FILENO); }

void tool_bar(const char *what, uint64_t done, uint64_t total) {
    static const char full[] = "########################################";
    if (done >= total || !tool_bar_visible()) {
        if (bar_drawn) {
            fputs("\r\033[K", stderr);
            bar_drawn = 0;
        }
        return;
    }
    const double part = (double)done / (double)total;
    const int width = (int)sizeof full - 1, filled = (int)(part * width);
    fprintf(stderr, "\r%-8s [%.*s%*s] %3d %%", what, filled, full, width - filled, "",
            (int)(part * 100));
    bar_drawn = 1;
}

void tool_json_string(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(out, "\\%c", *c);
        } else if (*c < 0x20) {
            fprintf(out, "\\u%04x", *c);
        } else {
            fputc(*c, out);
        }
    }
    fputc('"', out);
}
