/* check.h - the little that a C test needs: CHECK ends the test with a line that says where. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#define alarm(seconds) 0u /* there is none; CTest ends what hangs */
#endif

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

/* For calls that must succeed: shows the library's message. */
#define CHECK_OK(call)                                                                 \
    do {                                                                               \
        const realm_status check_status = (call);                                      \
        if (check_status != REALM_STATUS_OK) {                                         \
            fprintf(stderr, "%s:%d: %s = %d: %s\n", __FILE__, __LINE__, #call,         \
                    (int)check_status, error.message);                                 \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

#endif /* CHECK_H */
