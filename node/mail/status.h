/* Enhanced status codes (RFC 3463) for replies that came without one. Pure. */
#ifndef NODE_MAIL_STATUS_H
#define NODE_MAIL_STATUS_H

#include "node/smtp/client.h"

#include <stdint.h>

/* `code` is the reply's, or 0 when there was none (no connection, connection lost); `stage` what it answered.
 * The class is the code's; without code it is 4. Says X.0.0 rather than guess. */
void mail_status_derive(unsigned code, enum smtp_client_stage stage, uint8_t status[3]);

#endif
