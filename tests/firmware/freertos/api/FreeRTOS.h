/* FreeRTOS.h - what ports/freertos uses of the kernel, declared as its documentation has it, so that the port is compiled also where the
 * kernel is not. Nothing here can be linked.
 */
#ifndef INC_FREERTOS_H
#define INC_FREERTOS_H

#include <stddef.h>
#include <stdint.h>

#include "FreeRTOSConfig.h"

typedef uint32_t TickType_t;
typedef long BaseType_t;
typedef unsigned long UBaseType_t;
typedef uint32_t StackType_t;
typedef void (*TaskFunction_t)(void *);

#define portMAX_DELAY ((TickType_t)0xffffffffu)
#define portBYTE_ALIGNMENT 8
#define pdPASS ((BaseType_t)1)

void *pvPortMalloc(size_t bytes);
void vPortFree(void *memory);
size_t xPortGetFreeHeapSize(void);
size_t xPortGetMinimumEverFreeHeapSize(void);

#endif /* INC_FREERTOS_H */
