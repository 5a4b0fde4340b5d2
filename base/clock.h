/* The clocks. Pure cores never include this: they are given times. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* CLOCK_REALTIME since 1970; may jump */
int64_t clock_boot_ns(void); /* CLOCK_BOOTTIME; never jumps, counts while suspended */
int64_t clock_boot_ms(void);
int64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */

#endif
