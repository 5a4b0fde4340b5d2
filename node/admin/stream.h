/* The admin side of live dialogue streams; what core sees is in ops.h. */
#ifndef NODE_ADMIN_STREAM_H
#define NODE_ADMIN_STREAM_H

#include "node/admin/ops.h"

/* One reference, the reader's; NULL without memory. */
struct admin_stream *admin_stream_new(void);

/* The reader takes no more: later puts answer ERR_CLOSED. Wakes a waiting reader. Any thread. */
void admin_stream_close(struct admin_stream *s);

enum admin_stream_got { ADMIN_STREAM_LINE, ADMIN_STREAM_NOTHING, ADMIN_STREAM_END };

/* Waits up to wait_ms for a line and appends it to `out` as one line of JSON. ADMIN_STREAM_NOTHING after the
 * wait; ADMIN_STREAM_END once: the last line, saying how it ended, was appended. Reader thread only. */
enum admin_stream_got admin_stream_take(struct admin_stream *s, uint32_t wait_ms, struct buf *out);

/* The closing line, for an end that the reader decides itself (time is up). */
void admin_stream_put_end(struct buf *out, int err, const char *text, uint64_t dropped);

#endif
