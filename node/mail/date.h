/* Dates as RFC 5322 section 3.3 writes them. Pure: no clock, no time zone database. */
#ifndef NODE_MAIL_DATE_H
#define NODE_MAIL_DATE_H

#include <stdint.h>

#define MAIL_DATE_TEXT 40 /* with the NUL */

/* "Sat, 21 Nov 2026 21:04:15 +0000" for milliseconds since 1970, shown `zone_min` minutes east of Greenwich
 * (within a day). Years outside 1900 to 9999 are shown as the nearest one that the grammar can hold. */
void mail_date_format(int64_t wall_ms, int zone_min, char out[MAIL_DATE_TEXT]);

#endif
