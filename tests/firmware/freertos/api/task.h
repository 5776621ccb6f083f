/* task.h - see FreeRTOS.h beside it. */
#ifndef INC_TASK_H
#define INC_TASK_H

#include "FreeRTOS.h"

typedef struct tskTaskControlBlock *TaskHandle_t;
typedef struct xTIME_OUT {
    BaseType_t xOverflowCount;
    TickType_t xTimeOnEntering;
} TimeOut_t;

#define tskIDLE_PRIORITY ((UBaseType_t)0)
#define taskYIELD() vPortYield()
#define taskDISABLE_INTERRUPTS() vPortDisableInterrupts()

void vPortYield(void);
void vPortDisableInterrupts(void);
void vTaskSetTimeOutState(TimeOut_t *out);
BaseType_t xTaskCreate(TaskFunction_t code, const char *name, uint32_t stack_words, void *argument, UBaseType_t priority,
                       TaskHandle_t *created);
void vTaskDelete(TaskHandle_t task);
void vTaskDelay(TickType_t ticks);
void vTaskStartScheduler(void);
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task);

#endif /* INC_TASK_H */
